// The models that are defined, as the page and its dialogs share them. The host owns them; after each act they are asked for again.

import { api, toFailure } from './api'
import type { Failure, ModelsView, ModelView } from './types'

class Models {
  view = $state.raw<ModelsView | null>(null)
  failed = $state.raw<Failure | null>(null)
  all = $derived<readonly ModelView[]>(this.view?.models ?? [])
  names = $derived(this.all.map((m) => m.name))

  async load(): Promise<void> {
    try {
      this.view = await api.Models()
      this.failed = null
    } catch (e) {
      this.failed = toFailure(e)
    }
  }
  /** Does one thing, and asks what there is now, whether it went well or not. */
  async change(act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } finally {
      await this.load()
    }
  }
  find(name: string): ModelView | undefined { return this.all.find((m) => m.name === name) }
}

export const models = new Models()
