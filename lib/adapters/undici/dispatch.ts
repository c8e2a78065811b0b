import type { Dispatcher } from 'undici'

/** Any function shaped like a dispatcher's `dispatch`, of any version of undici. */
export type AnyDispatch = (options: never, handler: never) => boolean

export type Dispatch = Dispatcher['dispatch']
export type DispatchOptions = Dispatcher.DispatchOptions
export type DispatchHandler = Dispatcher.DispatchHandler
export type DispatchController = Dispatcher.DispatchController
export type RequestHeaders = DispatchOptions['headers']

/** Headers of an answer, names in lower case. */
export type AnswerHeaders = Record<string, string | string[] | undefined>

/** Headers as they came over the wire: a flat list of names and values, of bytes or text; or a record. */
export type RawHeaders = NonNullable<DispatchController['rawHeaders']> | null
