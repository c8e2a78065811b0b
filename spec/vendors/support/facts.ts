/** How sure a fact about a vendor is. */
export type Source =
  /** The vendor, or a standard, says so. Nobody has seen the real system do it. */
  | 'documentation'
  /** The real system was seen to do it. */
  | 'run'
  /** Read in the code of the real system. */
  | 'source code'

/** One behaviour of a server, and where it was learned. */
export interface Fact<T> {
  readonly value: T
  readonly source: Source
  /** The public document, in one line. */
  readonly reference: string
}

/** Marks values as learned from one document. */
export type Marker = <T>(value: T) => Fact<T>

function marker(source: Source, reference: string): Marker {
  return (value) => ({ value, source, reference })
}

export const documentation = (reference: string): Marker => marker('documentation', reference)
export const run = (reference: string): Marker => marker('run', reference)
export const sourceCode = (reference: string): Marker => marker('source code', reference)
