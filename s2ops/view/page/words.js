// Helpers: DOM elements (text of a run is never parsed as HTML), formats of numbers and days, requests.

/** Create an element: el('p.small', 'text', child, ...). */
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

/** Format '2023-08-20' as '20 August 2023'; months and years stay unchanged. */
export function day(iso) {
  return /^\d{4}-\d{2}-\d{2}$/.test(iso) ? DAY.format(new Date(`${iso}T00:00Z`)) : iso;
}

/** Format a fraction as percent: small values keep digits; only 0 is shown as 0, and only 1 as 100. */
export function percent(part) {
  const value = 100 * part;
  if (value > 0 && value < 0.01) return 'under 0.01 %';
  if (value < 100 && value > 99.5) return value > 99.99 ? 'over 99.99 %' : `${value.toFixed(2)} %`;
  return `${value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2)} %`;
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString('en-GB')} ${number === 1 ? one : many}`;
}

/** Request JSON from the server; throw an Error with the server's message. */
export async function ask(path) {
  const again = () => new Promise((resolve) => setTimeout(resolve, 500)).then(() => fetch(path)); // the server may just have closed the connection
  const answer = await fetch(path).catch(again).catch(() => {
    throw new Error('The server does not respond: is s2ops view still running?');
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `The server returned status ${answer.status}.`);
  return said;
}
