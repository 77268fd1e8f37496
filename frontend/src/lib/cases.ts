// Cases: what may be shared of them, and which models may be asked.

import type { CaseView, ModelView } from './types'

/** The marks of the Traffic Light Protocol, as people write them. */
export const marks: Record<Exclude<CaseView['marking'], ''>, string> = { clear: 'CLEAR', green: 'GREEN', amber: 'AMBER', 'amber+strict': 'AMBER+STRICT', red: 'RED' }

export const newCase = (): CaseView => ({ id: '', name: '', marking: '', notes: '', folder: '', servers: [], models: [], localOnly: false, redact: [] })

/** Why a model may not be asked, or "". */
export function barred(m: ModelView, c: CaseView | undefined, localOnly: boolean): string {
  if (!m.local && localOnly) return 'Settings allow only models on this computer.'
  if (!m.local && c?.localOnly) return `${c.name} allows only models on this computer.`
  if (c && c.models.length > 0 && !c.models.includes(m.name)) return `${c.name} does not name it.`
  return ''
}
