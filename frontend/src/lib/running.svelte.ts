// One call at a time, as a form of the window runs it: what is known while it runs, and how it ended.

import { api, on, toFailure } from './api'
import { app } from './app.svelte'
import type { CallProgress, CallRequest, CallView, Failure } from './types'

// randomUUID exists only where the engine calls the page secure; the app's own scheme may not count as that.
export const newTicket = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('')

export class Running {
  /** Of the call that runs, "" when none does. */
  ticket = $state('')
  /** Whole seconds since it began. */
  seconds = $state(0)
  progress = $state.raw<CallProgress | null>(null)
  result = $state.raw<CallView | null>(null)
  failure = $state.raw<Failure | null>(null)
  /** What the result is of. */
  title = $state('')

  /** Runs a call to its end; while one runs, no other begins. */
  async run(request: Omit<CallRequest, 'ticket'>, title: string): Promise<void> {
    if (this.ticket) return
    const mine = newTicket()
    const began = Date.now()
    this.ticket = mine
    this.seconds = 0
    this.progress = this.failure = null
    const tick = setInterval(() => { this.seconds = Math.max(0, Math.round((Date.now() - began) / 1000)) }, 500)
    const off = on('call', (p) => { if (p.ticket === mine) this.progress = p })
    try {
      this.result = await api.Call({ ...request, ticket: mine })
      this.title = title
    } catch (e) {
      this.result = null
      this.failure = toFailure(e)
    }
    clearInterval(tick)
    off()
    this.ticket = ''
    this.progress = null
  }
  cancel(): Promise<boolean> {
    const ticket = this.ticket
    return ticket ? app.attempt(() => api.CancelCall(ticket)) : Promise.resolve(false)
  }
  /** For a form that goes away with its call: what only reads is not waited for by nobody. */
  leave(): void {
    if (this.ticket) void api.CancelCall(this.ticket).catch(() => {})
  }
}

/** How far a call is, in words; the figures are the server's. */
export function stepWords({ done, total }: CallProgress): string {
  const whole = Number.isInteger(done) && done >= 0
  if (!(total > 0)) return whole ? `step ${done}` : ''
  if (whole && Number.isInteger(total) && total < 100) return `step ${Math.min(done, total)} of ${total}`
  return `${Math.round(100 * Math.min(1, Math.max(0, done / total)))} %`
}
