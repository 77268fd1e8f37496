// Where a menu floats: beside what opened it, inside the window. The place is known only once it is drawn.

/** Puts a node under or above another, whichever has room; returns nothing to take down. */
export function place(node: HTMLElement, beside: HTMLElement): void {
  const gap = 8
  const [b, n] = [beside.getBoundingClientRect(), node.getBoundingClientRect()]
  const below = b.bottom + gap + n.height <= window.innerHeight
  const top = below ? b.bottom + gap : Math.max(gap, b.top - gap - n.height)
  const left = Math.max(gap, Math.min(b.left, window.innerWidth - n.width - gap))
  node.style.setProperty('top', `${top}px`)
  node.style.setProperty('left', `${left}px`)
}
