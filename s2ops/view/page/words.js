// Small helpers: elements without markup (nothing that a run says is ever read as HTML), numbers and days in words.

/** An element: el('p.small', 'text', child, ...). */
export function el(kind, ...children) {
  const [tag, ...classes] = kind.split('.');
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(' ');
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function swatch(colour) {
  const made = el('span.swatch');
  made.style.background = colour;
  made.setAttribute('aria-hidden', 'true');
  return made;
}

const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' });

/** '2023-08-20' as '20 August 2023'; months and years stay as they are. */
export function day(iso) {
  return /^\d{4}-\d{2}-\d{2}$/.test(iso) ? DAY.format(new Date(`${iso}T00:00Z`)) : iso;
}

/** A part of 1 as percent: small ones keep a digit, what is not nothing never reads 0, what is not all never 100. */
export function percent(part) {
  const value = 100 * part;
  if (value > 0 && value < 0.01) return 'under 0.01 %';
  if (value < 100 && value > 99.5) return value > 99.99 ? 'over 99.99 %' : `${value.toFixed(2)} %`;
  return `${value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2)} %`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString('en-GB')} ${number === 1 ? one : many}`;
}

/** JSON from the server; an Error whose message is the server's sentence. */
export async function ask(path) {
  const again = () => new Promise((resolve) => setTimeout(resolve, 500)).then(() => fetch(path)); // a connection may just have been closed
  const answer = await fetch(path).catch(again).catch(() => {
    throw new Error('The server does not answer: is s2ops view still running?');
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `The server answers ${answer.status}.`);
  return said;
}
