import type { Adapter, AdapterPayload } from 'oidc-provider'

interface Row {
  model: string
  payload: AdapterPayload
  expiresAt: number
}

/** Where one provider keeps its sessions, grants and tokens. The one it comes with holds 1000 rows for all providers together. */
export class Store {
  readonly #rows = new Map<string, Row>()

  /** The view of one model, which oidc-provider asks for by name. */
  adapter(model: string): Adapter {
    const key = (id: string): string => `${model}:${id}`
    return {
      upsert: async (id, payload, expiresIn = Infinity) => {
        this.#rows.set(key(id), { model, payload, expiresAt: Date.now() + expiresIn * 1000 })
      },
      find: async (id) => this.#live(key(id)),
      findByUid: async (uid) => this.#first(model, (payload) => payload.uid === uid),
      findByUserCode: async (code) => this.#first(model, (payload) => payload.userCode === code),
      consume: async (id) => {
        const payload = this.#live(key(id))
        if (payload) payload.consumed = Math.floor(Date.now() / 1000)
      },
      destroy: async (id) => void this.#rows.delete(key(id)),
      revokeByGrantId: async (grantId) => this.#deleteWhere((payload) => payload.grantId === grantId),
    }
  }

  #live(key: string): AdapterPayload | undefined {
    const row = this.#rows.get(key)
    return row && row.expiresAt > Date.now() ? row.payload : undefined
  }

  #first(model: string, matches: (payload: AdapterPayload) => boolean): AdapterPayload | undefined {
    for (const [key, row] of this.#rows) {
      if (row.model === model && matches(row.payload)) return this.#live(key)
    }
    return undefined
  }

  #deleteWhere(matches: (payload: AdapterPayload) => boolean): void {
    for (const [key, row] of this.#rows) if (matches(row.payload)) this.#rows.delete(key)
  }
}
