// What the window tests share: the whole app over a stand-in host, and axe.

import { fireEvent, render } from '@testing-library/svelte'
import axe from 'axe-core'
import { tick } from 'svelte'
import { expect } from 'vitest'
import App from '../App.svelte'
import { app } from '../lib/app.svelte'
import { chat } from '../lib/chat.svelte'
import { models } from '../lib/models.svelte'
import type { Snapshot } from '../lib/types'
import type { Made } from './chat'
import { snapshot, standin, type Standin } from './host'

/** Opens the window afresh. */
export async function open(over: Partial<Snapshot> = {}, made: Partial<Made> = {}): Promise<Standin> {
  const host = standin(snapshot(over))
  Object.assign(host.made, made)
  chat.reset()
  app.snapshot = null
  app.toasts = []
  app.overlay = { kind: 'none' }
  app.event = 0
  app.server = app.runServer = app.runTool = app.bannerHidden = ''
  app.page = 'secrets'
  app.progress = {}
  app.signIns = {}
  models.view = models.failed = null
  render(App)
  await settle()
  return host
}
/** Lets promises and effects run out, without a clock. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) { await Promise.resolve(); await tick() }
}
export const find = (test: string): HTMLElement | null => document.querySelector(`[data-test="${test}"]`)
export function get(test: string): HTMLElement {
  const node = find(test)
  if (!node) throw new Error(`no element with data-test="${test}"`)
  return node
}
export async function click(test: string): Promise<void> {
  await fireEvent.click(get(test))
  await settle()
}
export async function type(test: string, value: string): Promise<void> {
  await fireEvent.input(get(test), { target: { value } })
  await settle()
}
export async function choose(test: string, value: string): Promise<void> {
  await fireEvent.change(get(test), { target: { value } })
  await settle()
}
export async function press(key: string, more: KeyboardEventInit = {}, on: Element = document.activeElement ?? document.body): Promise<boolean> {
  const went = await fireEvent.keyDown(on, { key, ...more })
  await settle()
  return went
}
/** jsdom draws nothing, so contrast is checked on the tokens instead. */
export async function expectAccessible(): Promise<void> {
  const { violations } = await axe.run(document.body, { rules: { 'color-contrast': { enabled: false } } })
  expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`)).toEqual([])
}
