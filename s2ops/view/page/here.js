// Panel "here": values of a pixel, and metrics and scene list of its tile, as text.

import { STATUS } from './map.js';
import { ask, day, el, percent, swatch } from './words.js';

const DECISIONS = { taken: 'selected', spare: 'fallback', left: 'rejected' };
const CLASS_ORDER = ['water', 'grass', 'tree', 'residential', 'industrial/commercial', 'barren'];

/** Fill `body` with the values at a point; return the name of the tile, or null outside the run. */
export async function explain(body, run, place, colours, on) {
  const [lat, lon] = place;
  body.replaceChildren(el('p', 'Loading …'));
  const pixel = await ask(`/api/${run}/at?lon=${lon}&lat=${lat}`);
  const where = el('p.place', `${degrees(lat, 'N', 'S')}, ${degrees(lon, 'E', 'W')}`);
  if (!pixel.tile) {
    body.replaceChildren(where, el('p', 'There is no tile of this run here.'));
    return null;
  }
  where.append(`, row ${pixel.row}, column ${pixel.column}`);
  const tile = await ask(`/api/${run}/tile/${pixel.tile}`);
  body.replaceChildren(where, ...of_pixel(pixel), ...of_tile(tile, pixel, colours, on));
  return pixel.tile;
}

/** Fill `body` with the metrics of a tile alone. */
export async function explain_tile(body, run, name, colours, on) {
  body.replaceChildren(el('p', 'Loading …'));
  body.replaceChildren(...of_tile(await ask(`/api/${run}/tile/${name}`), {}, colours, on));
}

function degrees(value, positive, negative) {
  return `${Math.abs(value).toFixed(5)}° ${value >= 0 ? positive : negative}`;
}

function of_pixel(pixel) {
  const facts = el('dl.facts');
  const add = (name, ...value) => facts.append(el('dt', name), el('dd', ...value));
  if (pixel.class) {
    const sure = pixel.class.confidence === null ? '' : `, ${pixel.class.confidence} % confidence`;
    add('Class', swatch(pixel.class.colour), el('strong', pixel.class.name), sure);
  }
  if (pixel.source) {
    const from = pixel.source.tile === pixel.tile ? '' : `, blended in from ${pixel.source.tile}`;
    const share = pixel.share === null ? '' : `; ${pixel.share} % of the pixel`;
    add('Date', el('strong', day(pixel.source.date)), el('span.small', `${pixel.source.id}${from}${share}`));
  } else if (pixel.hole) {
    add('Date', 'none: the pixel is clear in no scene');
  }
  if (!pixel.levels) return [facts.children.length ? facts : el('p', 'The mosaic has no data here.')];
  const table = el('table', el('thead', el('tr', el('th', 'Band'), header('Level'), header('Reflectance'))));
  table.append(el('tbody', ...Object.entries(pixel.levels).map(([band, level]) => el('tr', el('th', band === 'nir' ? 'near infrared' : band), el('td', String(level)), el('td', pixel.reflectance[band].toFixed(3))))));
  return [facts, el('h3', 'Mosaic'), table];
}

function header(text) {
  const made = el('th', text);
  made.style.textAlign = 'right';
  return made;
}

function of_tile(tile, pixel, colours, on) {
  const facts = el('dl.facts');
  const add = (name, ...value) => facts.append(el('dt', name), el('dd', ...value));
  add('Status', el(`span.badge.${tile.status}`, STATUS[tile.status]?.[1] ?? tile.status), tile.reason ? el('span.small', tile.reason) : null);
  if (tile.holes !== null) add('Holes', tile.holes === 0 ? 'none' : `${percent(tile.holes)} of the tile`);
  for (const seam of tile.seams.filter((one) => one.after !== null)) {
    add(`To ${seam.neighbour}`, `seam ${seam.after.toFixed(2)}`, seam.before === null ? '' : `, ${seam.before.toFixed(2)} before blending`);
  }
  const parts = [el('h3', `Tile ${tile.tile}`), facts];
  if (Object.keys(tile.areas).length) parts.push(...shares(tile.areas, colours));
  parts.push(el('h3', 'Scene list'));
  if (tile.covered !== null) parts.push(el('p.small', `The selected scenes cover ${percent(tile.covered)} of the tile (${tile.proof}).`));
  if (!tile.scenes.length) parts.push(el('p', 'There is no scene list.'));
  for (const one of tile.scenes) parts.push(scene(one, pixel, on));
  if (tile.left_out.length) {
    const list = el('ul', ...tile.left_out.map((one) => el('li.scene', el('p.id', one.id), el('p', one.reason))));
    parts.push(el('details', el('summary', `${tile.left_out.length} not examined or not used`), list));
  }
  return parts;
}

function shares(areas, colours) {
  const total = Object.values(areas).reduce((sum, km2) => sum + km2, 0) || 1;
  const names = CLASS_ORDER.filter((name) => areas[name] > 0);
  const stack = el('div.stack', ...names.map((name) => {
    const made = el('span');
    made.style.background = colours[name];
    made.style.flex = String(areas[name] / total);
    return made;
  }));
  stack.setAttribute('aria-hidden', 'true');
  const list = el('ul.legend.shares', ...names.map((name) => el('li', swatch(colours[name]), name, el('b', percent(areas[name] / total)))));
  return [el('h3', 'Land cover of the tile'), stack, list];
}

function scene(one, pixel, on) {
  const head = el('div.head', el('strong', day(one.date)), el(`span.badge.${one.decision}`, one.rank ? `${DECISIONS[one.decision]} ${one.rank}` : DECISIONS[one.decision]));
  if (one.use) {
    const show = el('button', 'Show');
    show.type = 'button';
    show.setAttribute('aria-label', `Show the scenes of ${day(one.date)}`);
    show.addEventListener('click', () => on.show_day(one.date));
    head.append(show);
  }
  const use = one.use ? `used for the ${one.use}; ` : '';
  const figures = `${use}cloud ${percent(one.cloud)}, haze ${percent(one.haze)}, clear ${percent(one.covers)}`;
  const made = el('div.scene', head, el('p.id', one.id), el('p.small', figures), el('p', one.reason));
  if (pixel.source?.id === one.id) made.classList.add('used-here');
  return made;
}
