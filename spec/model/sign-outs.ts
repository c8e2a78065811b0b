/** A user forgotten at a resource by one client. Moments are numbers, in order of what happened. */
interface SignOut {
  readonly place: string
  readonly by: number
  readonly at: number
  /** When each client learned of it. */
  readonly knownAt: Map<number, number>
}

/** Users forgotten at resources, and who has heard of it (H8). */
export class SignOuts {
  readonly #all: SignOut[] = []

  add(client: number, place: string, at: number): void {
    this.#all.push({ place, by: client, at, knownAt: new Map([[client, at]]) })
  }

  /** A client is told what another has forgotten. */
  hear(client: number, place: string, now: number): void {
    for (const { knownAt } of this.#of(place)) if (!knownAt.has(client)) knownAt.set(client, now)
  }

  /** How many there were, whoever knows of them. */
  count(place: string): number {
    return this.#of(place).length
  }

  /** Those that a client knows of. */
  knownTo(client: number, place: string): { at: number; known: number; isOwn: boolean }[] {
    return this.#of(place).flatMap(({ by, at, knownAt }) => {
      const known = knownAt.get(client)
      return known === undefined ? [] : [{ at, known, isOwn: by === client }]
    })
  }

  #of(place: string): SignOut[] {
    return this.#all.filter((signOut) => signOut.place === place)
  }
}
