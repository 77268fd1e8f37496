// The names in parts/Sprite.svelte; a test compares the two.
export type IconName =
  | 'mark' | 'chat' | 'run' | 'servers' | 'activity' | 'settings' | 'stop' | 'search' | 'filter' | 'right' | 'down'
  | 'close' | 'plus' | 'check' | 'more' | 'copy' | 'external' | 'undo' | 'send' | 'attach' | 'panel' | 'calendar'
  | 'download' | 'save' | 'keyboard' | 'file' | 'folder' | 'pin' | 'chain' | 'clock' | 'terminal' | 'info' | 'model'
  | 'case' | 'host' | 'leave' | 'stay' | 'rule' | 'memory' | 'net' | 'e-read' | 'e-costly' | 'e-disclose' | 'e-write'
  | 'e-high' | 'e-irreversible' | 'p-you' | 'p-model' | 'p-outside' | 'p-secret' | 'p-default' | 's-on' | 's-off'
  | 's-wait' | 's-degraded' | 's-danger' | 's-held' | 's-denied' | 't-4' | 't-3' | 't-1' | 't-0' | 'branch'
