// The words and shapes for each state, effect and origin, in one place: one word per idea.

import type { IconName } from './icons'
import type { CheckState, Effect, EventView, Origin, ServerState, ServerView, StageView } from './types'

export const effectWord: Record<Effect, string> = {
  unknown: 'unknown', read: 'read', costly: 'costly', disclose: 'disclose', write: 'write', high: 'high impact', irreversible: 'irreversible',
}

interface Look { icon: IconName; mark: string; word: string }
export const stateLook: Record<ServerState, Look> = {
  stopped: { icon: 's-off', mark: 'quiet', word: 'Stopped' },
  starting: { icon: 's-wait', mark: 'quiet', word: 'Starting' },
  running: { icon: 's-on', mark: 'ok', word: 'Running' },
  degraded: { icon: 's-degraded', mark: 'degraded', word: 'Degraded' },
  quarantined: { icon: 's-held', mark: 'danger', word: 'Quarantined' },
  refused: { icon: 's-denied', mark: 'danger', word: 'Refused' },
  crashed: { icon: 's-danger', mark: 'danger', word: 'Failed' },
  idle: { icon: 'clock', mark: 'quiet', word: 'Sleeping' },
  'sign-in needed': { icon: 'p-you', mark: 'you', word: 'Sign-in needed' },
  'not answering': { icon: 's-danger', mark: 'danger', word: 'Not answering' },
}
/** What a state is called. Nothing of a remote server runs here: a connection stands for the process. */
export function stateWord(s: ServerView): string {
  const apart: Partial<Record<ServerState, string>> = { running: 'Connected', starting: 'Connecting', stopped: 'Not connected' }
  return (s.remote && apart[s.state]) || stateLook[s.state].word
}
export const checkLook: Record<CheckState, Look> = {
  ok: { icon: 's-on', mark: 'ok', word: 'works' },
  degraded: { icon: 's-degraded', mark: 'degraded', word: 'limited' },
  missing: { icon: 's-danger', mark: 'danger', word: 'missing' },
}
export const stageLook: Record<StageView['state'], Look> = {
  passed: { icon: 'check', mark: 'ok', word: 'passed' },
  stopped: { icon: 's-denied', mark: 'danger', word: 'stopped here' },
  asked: { icon: 'p-you', mark: 'you', word: 'you were asked' },
  marked: { icon: 's-degraded', mark: 'degraded', word: 'marked' },
  ended: { icon: 's-denied', mark: 'danger', word: 'ended' },
  'not reached': { icon: 'p-default', mark: 'quiet', word: 'not reached' },
}
export const decisionLook: Record<EventView['decision'], Look> = {
  allowed: { icon: 'check', mark: 'quiet', word: 'allowed' },
  'you allowed': { icon: 'check', mark: 'ok', word: 'you allowed' },
  'you denied': { icon: 'close', mark: 'danger', word: 'you denied' },
  denied: { icon: 's-denied', mark: 'danger', word: 'denied' },
  'timed out': { icon: 'clock', mark: 'danger', word: 'timed out' },
  failed: { icon: 's-danger', mark: 'danger', word: 'failed' },
  marked: { icon: 's-degraded', mark: 'degraded', word: 'marked' },
  intent: { icon: 'p-default', mark: 'quiet', word: 'intent' },
  '': { icon: 'p-default', mark: 'quiet', word: '' },
}
export const decisions = ['allowed', 'you allowed', 'you denied', 'denied', 'timed out', 'failed', 'marked', 'intent'] as const

export const originWord: Record<Origin, string> = {
  you: 'You', model: 'Model', outside: 'Outside text', default: 'Tool default', secret: 'Secret',
}
/** The class of an origin's line; outside text has the plain tape. */
export const tapeClass = (o: Origin): string => (o === 'outside' ? 'tape' : `tape tape-${o}`)
