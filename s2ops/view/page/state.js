// State of the page, and its encoding in the address after '#', so that a link restores the state.

export const DEFAULTS = {
  map: null, // [zoom, latitude, longitude]
  picture: 'truecolour',
  date: '',
  top: 'none',
  opacity: 80,
  marks: ['tiles'],
  seams: 'after',
  right: '', // 'RUN:LAYER' or 'RUN:scene:DATE'; empty for no swipe
  swipe: 50,
  at: null, // [latitude, longitude] of the inspected pixel
};

const NUMBERS = {
  map: [3, ([zoom, lat, lon]) => zoom >= 0 && zoom <= 22 && Math.abs(lat) <= 90 && Math.abs(lon) <= 540],
  at: [2, ([lat, lon]) => Math.abs(lat) <= 90 && Math.abs(lon) <= 540],
};

const WORD = /^[\w:-]{0,60}$/;

/** Parse the state in an address; missing or invalid parts have their defaults. */
export function parse(hash) {
  const state = structuredClone(DEFAULTS);
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  for (const [name, [count, sound]] of Object.entries(NUMBERS)) {
    const numbers = (given.get(name) ?? '').split('/').map((part) => (part === '' ? NaN : Number(part)));
    if (numbers.length === count && numbers.every(Number.isFinite) && sound(numbers)) state[name] = numbers;
  }
  for (const name of ['picture', 'date', 'top', 'seams', 'right']) {
    if (given.has(name) && WORD.test(given.get(name))) state[name] = given.get(name);
  }
  for (const name of ['opacity', 'swipe']) {
    const number = Number(given.get(name) ?? NaN);
    if (number >= 0 && number <= 100) state[name] = Math.round(number);
  }
  if (given.has('marks')) state.marks = given.get('marks').split(',').filter((mark) => ['tiles', 'seams', 'holes'].includes(mark));
  return state;
}

/** Format a state as address: only values that differ from the defaults. */
export function format(state) {
  const parts = [];
  if (state.map) parts.push(`map=${state.map[0].toFixed(2)}/${state.map[1].toFixed(5)}/${state.map[2].toFixed(5)}`);
  for (const name of ['picture', 'date', 'top', 'opacity', 'seams', 'right', 'swipe']) {
    if (state[name] !== DEFAULTS[name]) parts.push(`${name}=${state[name]}`);
  }
  if (state.marks.join() !== DEFAULTS.marks.join()) parts.push(`marks=${state.marks.join()}`);
  if (state.at) parts.push(`at=${state.at.map((degrees) => degrees.toFixed(5)).join('/')}`);
  return `#${parts.join('&')}`;
}
