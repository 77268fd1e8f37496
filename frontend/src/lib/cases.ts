// Cases: what may be shared of them, and which models may be asked.

import type { CaseView, ModelView, Scope } from './types'

/** The marks of the Traffic Light Protocol, as people write them. */
export const marks: Record<Exclude<CaseView['marking'], ''>, string> = { clear: 'CLEAR', green: 'GREEN', amber: 'AMBER', 'amber+strict': 'AMBER+STRICT', red: 'RED' }

export const newCase = (): CaseView => ({ id: '', name: '', marking: '', notes: '', folder: '', servers: [], models: [], localOnly: false, redact: [], scope: '', limits: { requests: 0, calls: 0, tokens: 0, dollars: 0, minutes: 0 } })

/** What calls may do, in words. */
export const scopes: Record<Scope, string> = { '': 'May read, asks before anything else', read: 'May only read', ask: 'Asks before every call' }
/** The same of a conversation and its case together: each only narrows. */
export function scopeOf(own: Scope, c: CaseView | undefined): string {
  const both = new Set<Scope>([own, c?.scope ?? ''].flatMap((s): Scope[] => (s in scopes ? [s] : ['read', 'ask']))) // one that is not known narrows all it can
  return both.has('read') && both.has('ask') ? 'May only read, asks before each call' : scopes[both.has('read') ? 'read' : both.has('ask') ? 'ask' : '']
}

/** Why a model may not be asked, or "". */
export function barred(m: ModelView, c: CaseView | undefined, localOnly: boolean): string {
  if (!m.local && localOnly) return 'Settings allow only models on this computer.'
  if (!m.local && c?.localOnly) return `${c.name} allows only models on this computer.`
  if (c && c.models.length > 0 && !c.models.includes(m.name)) return `${c.name} does not name it.`
  return ''
}
