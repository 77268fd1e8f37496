// Keys that work everywhere, and moving inside lists.

/** Whether typing goes somewhere, so that single keys must not be taken. */
export function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName))
}

/** The index that an arrow, Home or End leads to; -1 when the key does not move. */
export function moved(key: string, at: number, length: number): number {
  if (length === 0) return -1
  switch (key) {
    case 'ArrowDown': return Math.min(at + 1, length - 1)
    case 'ArrowUp': return Math.max(at - 1, 0)
    case 'Home': return 0
    case 'End': return length - 1
    default: return -1
  }
}

const focusable = 'button:not([disabled]), input:not([disabled]), select:not([disabled]), textarea:not([disabled]), a[href], summary, [tabindex]:not([tabindex="-1"])'

/** What Tab would reach inside, in order. */
export const tabStops = (root: ParentNode): HTMLElement[] =>
  [...root.querySelectorAll<HTMLElement>(focusable)].filter((e) => !e.closest('[inert], [hidden]'))

/** Keeps Tab inside a dialog. */
export function keepInside(event: KeyboardEvent, root: HTMLElement): void {
  if (event.key !== 'Tab') return
  const stops = tabStops(root)
  const first = stops[0]
  const last = stops[stops.length - 1]
  if (!first || !last) return
  const here = document.activeElement
  if (event.shiftKey ? here === first || !root.contains(here) : here === last || !root.contains(here)) {
    event.preventDefault()
    ;(event.shiftKey ? last : first).focus()
  }
}

/** F6 and Shift F6: the next or previous region of the window. */
export function nextRegion(backward: boolean): void {
  const regions = [...document.querySelectorAll<HTMLElement>('[data-region]')].filter((r) => !r.closest('[inert]'))
  if (regions.length === 0) return
  const at = regions.findLastIndex((r) => r.contains(document.activeElement))
  const next = regions[(at + (backward ? -1 : 1) + regions.length) % regions.length]
  if (!next) return
  const stop = next.querySelector<HTMLElement>('[data-region-start]') ?? tabStops(next)[0]
  ;(stop ?? next).focus()
}
