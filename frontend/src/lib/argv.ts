// Splits a typed command into the words that will be run. No shell takes part: nothing is expanded, and the words are
// shown back before anything is saved.

export interface Parsed { words: string[]; problem: string }

/** Quotes group, a backslash takes the next character as it is (inside single quotes it is plain). */
export function splitArgv(line: string): Parsed {
  const words: string[] = []
  let word = ''
  let open = false
  let quote = ''
  for (let i = 0; i < line.length; i++) {
    const c = line[i] ?? ''
    if (quote) {
      if (c === quote) quote = ''
      else if (c === '\\' && quote === '"' && i + 1 < line.length) word += line[++i]
      else word += c
    } else if (c === '"' || c === "'") {
      quote = c
      open = true
    } else if (c === '\\') {
      if (i + 1 >= line.length) return { words: open ? [...words, word] : words, problem: 'The command ends with a backslash.' }
      word += line[++i]
      open = true
    } else if (/\s/.test(c)) {
      if (open) words.push(word)
      word = ''
      open = false
    } else {
      word += c
      open = true
    }
  }
  if (open) words.push(word)
  if (quote) return { words, problem: `A quote is not closed: ${quote}` }
  return { words, problem: '' }
}

/** Words that only a shell would understand; they are passed on as they are, which is rarely meant. */
export function shellWords(words: readonly string[]): string[] {
  return words.filter((w) => /^(?:[|&;<>]+|\d?>{1,2}.*|\$\(.*|.*`.*)$/.test(w) || /^\$\w|^~(?:\/|$)|^\*/.test(w))
}
