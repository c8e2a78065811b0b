import type { Cost, DemoEvent, SummaryRow } from './events.ts'

/** Counts what each chapter costs, from what is told. */
export class Ledger {
  readonly rows: SummaryRow[] = []
  /** Requests of the first call, the one that had to find out everything: what each call of an un-cached client costs. */
  flowRequests = 0
  #spent: Cost = nothing()

  /** Takes notice of a request over the network. */
  note(event: DemoEvent): void {
    if (event.type !== 'hop' || event.from !== 'client') return
    this.#spent.requests++
    if (event.about === 'token exchange') this.#spent.exchanges++
    if (event.about === 'jwt bearer') this.#spent.grants++
  }

  /** Counts the calls that go through a fetch. The first one has the price of a whole flow. */
  counting(next: typeof fetch): typeof fetch {
    return async (input, init) => {
      this.#spent.calls++
      const response = await next(input, init)
      if (this.flowRequests === 0) this.flowRequests = this.#spent.requests
      return response
    }
  }

  /** Closes a chapter, and says what it cost. */
  close(chapter: number, title: string): Cost {
    const spent = this.#spent
    this.#spent = nothing()
    const { calls } = spent
    const uncached = { calls, exchanges: calls, grants: calls, requests: calls * this.flowRequests }
    this.rows.push({ chapter, title, spent, uncached })
    return spent
  }

  get total(): SummaryRow {
    const sum = (side: 'spent' | 'uncached'): Cost =>
      this.rows.reduce((total, row) => add(total, row[side]), nothing())
    return { chapter: 0, title: 'total', spent: sum('spent'), uncached: sum('uncached') }
  }
}

function nothing(): Cost {
  return { calls: 0, exchanges: 0, grants: 0, requests: 0 }
}

function add(a: Cost, b: Cost): Cost {
  return {
    calls: a.calls + b.calls,
    exchanges: a.exchanges + b.exchanges,
    grants: a.grants + b.grants,
    requests: a.requests + b.requests,
  }
}
