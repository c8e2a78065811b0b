/** For whom a request that reached the MCP server is made. */
export interface TestCaller {
  /** The user whom the access token is for. */
  readonly user: string
  /** What the access token was granted. */
  readonly scope: string[]
}

/** Answers a request to the MCP server whose access token is good. */
export type TestResponder = (request: Request, caller: TestCaller) => Response | Promise<Response>
