// The one door to the host. Wails puts the bound methods at window.go.app.App and events at window.runtime;
// nothing else in the frontend touches either.

import type { Bound, Failure, Pushed } from './types'

interface Runtime {
  EventsOn(name: string, heard: (data: unknown) => void): () => void
  EventsOff(name: string): void
}

declare global {
  interface Window {
    go?: { app?: { App?: Bound } }
    runtime?: Runtime
  }
}

const isRecord = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null

/** Whether a value has the shape the host promises for errors. */
export function isFailure(x: unknown): x is Failure {
  return isRecord(x) && ['code', 'what', 'means', 'fix'].every((k) => typeof x[k] === 'string')
}

/**
 * Turns whatever a bound method rejected with into a Failure. The host sends one, as an object or as its JSON;
 * anything else (a Wails error, a JavaScript exception) is wrapped, so that every screen shows the same four things.
 */
export function toFailure(thrown: unknown): Failure {
  if (isFailure(thrown)) return thrown
  const text = thrown instanceof Error ? thrown.message : typeof thrown === 'string' ? thrown : ''
  if (text.startsWith('{')) {
    try {
      const parsed: unknown = JSON.parse(text)
      if (isFailure(parsed)) return parsed
    } catch {
      // Not JSON after all: it is shown as the sentence it is.
    }
  }
  return {
    code: 'CRD-UI-01',
    what: text || 'The host answered with something that is not an error message.',
    means: 'Cordon could not finish this. Nothing was allowed by it.',
    fix: 'Try again. If it happens again, the log names the cause.',
  }
}

async function call<K extends keyof Bound>(name: K, ...args: Parameters<Bound[K]>): Promise<Awaited<ReturnType<Bound[K]>>> {
  const host = window.go?.app?.App
  if (!host) {
    const gone: Failure = {
      code: 'CRD-UI-02',
      what: 'The window has no host behind it.',
      means: 'Nothing can run. This page was opened outside Cordon, or the host has ended.',
      fix: 'Close the window and start Cordon again.',
    }
    throw gone
  }
  try {
    const method = host[name] as (...a: Parameters<Bound[K]>) => ReturnType<Bound[K]>
    return await method(...args)
  } catch (thrown) {
    throw toFailure(thrown)
  }
}

/** Every bound method; each rejects with a Failure and with nothing else. */
export const api: Bound = {
  Snapshot: () => call('Snapshot'),
  Answer: (a) => call('Answer', a),
  Call: (c) => call('Call', c),
  CancelCall: (ticket) => call('CancelCall', ticket),
  AddServer: (s) => call('AddServer', s),
  AddRemote: (s) => call('AddRemote', s),
  CancelTask: (server, id) => call('CancelTask', server, id),
  SignIn: (name) => call('SignIn', name),
  SignOut: (name) => call('SignOut', name),
  SetOpen: (name, open) => call('SetOpen', name, open),
  Resources: (name) => call('Resources', name),
  Icons: (name) => call('Icons', name),
  AwaitChange: (ticket, name, uri) => call('AwaitChange', ticket, name, uri),
  ExpandTemplate: (template, values) => call('ExpandTemplate', template, values),
  Complete: (r) => call('Complete', r),
  InstallServer: (s) => call('InstallServer', s),
  RemoveServer: (name) => call('RemoveServer', name),
  StartServer: (name) => call('StartServer', name),
  StopServer: (name) => call('StopServer', name),
  RestartServer: (name) => call('RestartServer', name),
  AnswerQuestion: (a) => call('AnswerQuestion', a),
  Frames: (name) => call('Frames', name),
  Wanted: (name) => call('Wanted', name),
  AnswerWanted: (a) => call('AnswerWanted', a),
  ObserveServer: (name, on) => call('ObserveServer', name, on),
  StopEverything: () => call('StopEverything'),
  ServerLog: (name) => call('ServerLog', name),
  Review: (name) => call('Review', name),
  Approve: (name, digest) => call('Approve', name, digest),
  SetSecret: (s) => call('SetSecret', s),
  RemoveSecret: (name) => call('RemoveSecret', name),
  UseSessionSecrets: () => call('UseSessionSecrets'),
  Recheck: () => call('Recheck'),
  Events: (q) => call('Events', q),
  Story: (seq) => call('Story', seq),
  VerifyLog: () => call('VerifyLog'),
  TryFilesystem: () => call('TryFilesystem'),
  TrySandbox: () => call('TrySandbox'),
  TryConsent: () => call('TryConsent'),
  CancelProgress: (id) => call('CancelProgress', id),
  FinishFirstRun: () => call('FinishFirstRun'),
  ChooseFolder: (title) => call('ChooseFolder', title),
  OpenLink: (url) => call('OpenLink', url),
  Focus: (on) => call('Focus', on),
  Chats: (q) => call('Chats', q),
  OpenChat: (id) => call('OpenChat', id),
  OlderEntries: (id, before) => call('OlderEntries', id, before),
  NewChat: (c) => call('NewChat', c),
  Ask: (a) => call('Ask', a),
  StopChat: (id) => call('StopChat', id),
  RetryTurn: (id, question) => call('RetryTurn', id, question),
  ContinueChat: (id) => call('ContinueChat', id),
  SelectVersion: (id, seq) => call('SelectVersion', id, seq),
  ChangeChat: (c) => call('ChangeChat', c),
  DeleteChat: (id) => call('DeleteChat', id),
  BranchChat: (id, seq) => call('BranchChat', id, seq),
  ExportChat: (id, format) => call('ExportChat', id, format),
  Evidence: (id, seq) => call('Evidence', id, seq),
  Cases: () => call('Cases'),
  SetCase: (c) => call('SetCase', c),
  RemoveCase: (id) => call('RemoveCase', id),
  FolderAccess: (folder) => call('FolderAccess', folder),
  SetFolderAccess: (f) => call('SetFolderAccess', f),
  AttachedImage: (id, seq, index) => call('AttachedImage', id, seq, index),
  Models: () => call('Models'),
  SetModel: (m) => call('SetModel', m),
  SetModelKey: (k) => call('SetModelKey', k),
  RemoveModel: (name) => call('RemoveModel', name),
  FindModels: () => call('FindModels'),
  SetLocalModels: (only) => call('SetLocalModels', only),
}

/** Hears one kind of pushed event until the returned function is called. */
export function on<K extends keyof Pushed>(name: K, heard: (data: Pushed[K]) => void): () => void {
  const runtime = window.runtime
  if (!runtime) return () => {}
  return runtime.EventsOn(name, (data) => heard(data as Pushed[K]))
}
