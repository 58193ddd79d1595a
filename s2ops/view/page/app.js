// Main module of the page: loads the runs, keeps address, panel and maps consistent, and shows errors.

import { explain, explain_tile } from './here.js';
import { NOTHING, RunMap } from './map.js';
import { $, Panel } from './panel.js';
import { format, parse } from './state.js';
import { ask, day } from './words.js';

const state = parse(location.hash);
const grids = {}; // run -> tiles and seams as GeoJSON
let view, panel, left, right;
let written = ''; // address written by the page, to distinguish it from changes by the user

async function start() {
  view = await ask('/api/runs');
  panel = new Panel(view, state, changed, go_to_tile);
  left = new RunMap('map', view, events('left'), state.map ? camera() : { bounds: box(view.runs.a.bounds), fitBoundsOptions: { padding: 24 } });
  left.add_controls(credit());
  left.map.getCanvas().setAttribute('aria-label', 'Map. Arrow keys move it, plus and minus zoom, Enter inspects the pixel in the centre.');
  left.map.getCanvas().addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); look_at_middle(); }
  });
  await left.ready;
  await lines();
  changed();
  if (state.at) look(state.at);
  addEventListener('hashchange', restore);
  setInterval(refresh, 10_000);
  document.body.dataset.ready = 'yes';
}

function credit() {
  const years = [...new Set(Object.values(view.runs).flatMap((run) => run.dates.map((iso) => iso.slice(0, 4))))].sort();
  const span = years.length > 1 ? `${years[0]} to ${years.at(-1)}` : years.join('');
  return `Contains modified Copernicus Sentinel data ${span}`.trim();
}

function events(side) {
  return {
    error: (error) => say_error(words_of(error)),
    click: (place) => look([place.lat, place.lng], side),
    busy: () => busy(),
    move: (moved) => follow(moved),
  };
}

function words_of(error) {
  if (error?.status === 404) return 'At this zoom, too many files would be needed; zoom in.';
  if (error?.status) return `An image cannot be loaded: the server returned status ${error.status}.`;
  const text = String(error?.message ?? error);
  if (!/fetch/i.test(text)) return text;
  lost = true; // until the next response
  return 'The server does not respond: is s2ops view still running?';
}

/** Update maps, controls and address after every change of the state. */
function changed() {
  panel.sync();
  $('stage').style.setProperty('--swipe', `${state.swipe}%`);
  $('swipe').value = state.swipe;
  left.show(layers_of('a', state.picture, state.date, state.top));
  left.mark(state.marks, state.seams, view.runs.a.min_zoom);
  swipe();
  hint();
  write();
  drawing();
}

/** Mark the page as busy until the maps are idle: until then, the screen does not show the current state. */
function drawing() {
  document.body.dataset.idle = 'no';
  for (const one of [left, right]) one?.map.triggerRepaint();
}

function layers_of(run, picture, date, top) {
  const known = view.runs[run].layers;
  const wanted = [];
  if (known[picture]) wanted.push({ id: `${run}-picture`, run, layer: picture, date: picture === 'scene' ? date || view.runs[run].dates.at(-1) : null });
  if (known[top]) wanted.push({ id: `${run}-top`, run, layer: top, opacity: state.opacity / 100 });
  if (state.marks.includes('holes')) wanted.push({ id: `${run}-holes`, run, layer: 'holes' });
  return wanted.filter((one) => one.layer !== 'scene' || one.date);
}

function swipe() {
  const on = state.right !== '';
  for (const id of ['beside', 'line', 'swipe', 'right-name']) $(id).hidden = !on;
  const two = Object.keys(view.runs).length > 1;
  $('left-name').hidden = !on;
  $('left-name').textContent = (two ? `${view.runs.a.title}: ` : '') + left_words();
  $('caption').textContent = left_words();
  if (!on) {
    right?.map.remove();
    right = undefined;
    $('beside').replaceChildren();
    return;
  }
  const [run, layer, date] = state.right.split(':');
  const words = view.runs[run].layers[layer].label;
  $('right-name').textContent = (two ? `${view.runs[run].title}: ` : '') + (date ? day(date) : words);
  if (!right) {
    right = new RunMap('beside', view, events('right'), camera());
    right.map.getCanvas().setAttribute('aria-label', 'Map right of the line');
  }
  fill_right();
}

function left_words() {
  const known = view.runs.a.layers;
  if (known[state.top] && state.opacity > 50) return known[state.top].label;
  return state.picture === 'scene' ? day(state.date || view.runs.a.dates.at(-1)) : known[state.picture]?.label ?? 'No picture';
}

function fill_right() {
  if (!right || !state.right) return;
  const [run, layer, date] = state.right.split(':');
  const made = right;
  made.ready.then(() => {
    if (made !== right) return;
    if (made.run !== run || made.grid !== grids[run]) give_lines(made, run);
    Object.assign(made, { run, grid: grids[run] });
    made.show(layers_of(run, layer, date, 'none'));
    made.mark(state.marks, state.seams, view.runs[run].min_zoom);
    made.here(state.at);
    drawing();
  });
}

let following = false;
function follow(moved) {
  if (following) return;
  document.body.dataset.idle = 'no';
  const other = moved === left ? right : left;
  if (other) {
    following = true;
    other.map.jumpTo({ center: moved.map.getCenter(), zoom: moved.map.getZoom() });
    following = false;
  }
  hint();
  write();
}

function camera() {
  const [zoom, lat, lon] = state.map ?? [left.map.getZoom(), left.map.getCenter().lat, left.map.getCenter().lng];
  return { zoom, center: [lon, lat] };
}

function box([west, south, east, north]) {
  return [[west, south], [west < east ? east : east + 360, north]];
}

/** Load tiles and seams, which are drawn as lines above the pixels. */
async function lines() {
  for (const [run, { version }] of Object.entries(view.runs)) {
    const [tiles, seams] = await Promise.all(['tiles', 'seams'].map((kind) => ask(`/api/${run}/${kind}.geojson?v=${version}`)));
    grids[run] = { tiles, seams };
  }
  give_lines(left, 'a');
  if (right) right.ready.then(fill_right);
}

/** Points for the names of tiles: with polygons, MapLibre would draw the name once per map tile. */
function names(tiles) {
  return { type: 'FeatureCollection', features: tiles.features.map((one) => {
    const [west, south, east, north] = extent(one);
    return { type: 'Feature', geometry: { type: 'Point', coordinates: [(west + east) / 2, (south + north) / 2] }, properties: { tile: one.properties.tile } };
  }) };
}

/** West, south, east, north of a tile; east is above 180 if the tile crosses the antimeridian. */
function extent(tile) {
  const two = tile.geometry.type === 'MultiPolygon';
  const points = tile.geometry.coordinates.flat(two ? 2 : 1).map(([lon, lat]) => [two && lon < 0 ? lon + 360 : lon, lat]);
  const [lons, lats] = [0, 1].map((axis) => points.map((point) => point[axis]));
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)];
}

function give_lines(map, run) {
  const { tiles, seams } = grids[run] ?? { tiles: NOTHING, seams: NOTHING };
  map.data('tiles', tiles);
  map.data('names', names(tiles));
  map.data('seams', seams);
}

/** Load the state again, because the run may still be going on, and show changes. */
let refreshing = false;
async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    const now = await ask('/api/runs');
    const news = Object.keys(now.runs).filter((name) => now.runs[name].version !== view.runs[name].version);
    const problems = (from) => JSON.stringify(Object.values(from.runs).map((run) => run.problems));
    const other = problems(now) !== problems(view);
    Object.assign(view, now);
    if (news.length || other) panel.rebuild();
    if (news.length) { await lines(); changed(); }
    if (lost) { lost = false; say_error(''); }
    busy();
  } catch (error) {
    lost = true;
    say_error(error.message);
  } finally {
    refreshing = false;
  }
}
let lost = false;

let looked_at_problems = 0;
function busy() {
  const all = [left, right].filter(Boolean);
  const loading = all.some((one) => !one.map.loaded() || !one.map.areTilesLoaded());
  $('bar').hidden = !loading;
  $('stage').setAttribute('aria-busy', String(loading));
  document.body.dataset.idle = loading ? 'no' : 'yes';
  $('status').textContent = panel.summary;
  if (!loading && Date.now() - looked_at_problems > 3_000) {
    looked_at_problems = Date.now();
    if (document.body.dataset.ready) refresh();
  }
}

function hint() {
  const far = left.map.getZoom() < view.runs.a.min_zoom;
  $('hint').hidden = !far;
  $('hint').textContent = 'Zoom in to see pixels; at this zoom, the map shows the status of tiles.';
}

function say_error(words) {
  $('error').hidden = !words;
  $('error').textContent = words;
}

/** Write the state to the address, without adding entries to the browser's history. */
let writing;
function write() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const { lng, lat } = left.map.getCenter();
    state.map = [left.map.getZoom(), lat, lng];
    written = format(state);
    history.replaceState(null, '', written);
  }, 150);
}

function restore() {
  if (location.hash === written) return;
  clearTimeout(writing); // a pending write would restore the old state
  const before = state.at;
  Object.assign(state, parse(location.hash));
  if (state.map) left.map.jumpTo(camera());
  changed();
  if (state.at && String(state.at) !== String(before)) look(state.at);
  if (!state.at) close_here();
}

/** Inspect the pixel at a point [latitude, longitude]. */
async function look(place, side = 'left') {
  const run = side === 'right' && state.right ? state.right.split(':')[0] : 'a';
  state.at = place;
  for (const map of [left, right]) map?.here(place);
  open_here('Here');
  try {
    const tile = await explain($('here-body'), run, place, colours(run), { show_day });
    $('here-title').textContent = tile ? `Pixel in ${tile}` : 'Here';
    uncover(place);
  } catch (error) {
    $('here-body').replaceChildren(error.message);
  }
  write();
}

/** Pixels of the map that the panel "here" covers: on the right, or at the bottom on a phone. */
function covered() {
  const [map, aside] = [$('map'), $('here')].map((one) => one.getBoundingClientRect());
  const phone = aside.width > map.width * 0.9;
  return { right: phone || $('here').hidden ? 0 : map.right - aside.left, bottom: phone ? map.bottom - aside.top : 0 };
}

/** Move the map if the panel covers the inspected pixel. */
function uncover([lat, lon]) {
  const { x, y } = left.map.project([lon, lat]);
  const { width, height } = $('map').getBoundingClientRect();
  const hidden = covered();
  const dx = x > width - hidden.right - 20 ? x - (width - hidden.right) / 2 : 0;
  const dy = y > height - hidden.bottom - 20 ? y - (height - hidden.bottom) / 2 : 0;
  if (dx || dy) left.map.panBy([dx, dy], { animate: false });
}

function look_at_middle() {
  const { lat, lng } = left.map.getCenter();
  look([lat, lng]);
}

async function go_to_tile(name) {
  const found = grids.a.tiles.features.find((one) => one.properties.tile === name);
  if (!found) return;
  state.at = null;
  for (const map of [left, right]) map?.here(null);
  open_here(`Tile ${name}`);
  const [west, south, east, north] = extent(found);
  const { right: aside, bottom } = covered();
  left.map.fitBounds([[west, south], [east, north]], { padding: { top: 30, left: 30, right: 30 + aside, bottom: 30 + bottom }, animate: false });
  try {
    await explain_tile($('here-body'), 'a', name, colours('a'), { show_day });
  } catch (error) {
    $('here-body').replaceChildren(error.message);
  }
}

function colours(run) {
  return Object.fromEntries((view.runs[run].layers.landcover?.legend ?? []).map(([colour, name]) => [name, colour]));
}

function show_day(date) {
  state.picture = 'scene';
  state.date = date;
  state.top = 'none';
  changed();
}

function open_here(title) {
  $('here').hidden = false;
  $('here-title').textContent = title;
  open_panel(false);
}

function close_here() {
  $('here').hidden = true;
  state.at = null;
  for (const map of [left, right]) map?.here(null);
}

function open_panel(yes) {
  $('panel').classList.toggle('open', yes);
  $('open-panel').setAttribute('aria-expanded', String(yes));
}

$('here-close').addEventListener('click', () => { close_here(); write(); left.map.getCanvas().focus(); });
$('panel-close').addEventListener('click', () => { open_panel(false); $('open-panel').focus(); });
$('open-panel').addEventListener('click', () => {
  $('here').hidden = true;
  open_panel(!$('panel').classList.contains('open'));
});
$('open-middle').addEventListener('click', look_at_middle);
addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !$('here').hidden) { close_here(); write(); }
});
$('goto').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('goto-text').value.trim();
  const numbers = text.split(/[,;\s]+/).map(Number);
  say_error('');
  if (numbers.length === 2 && numbers.every(Number.isFinite) && Math.abs(numbers[0]) <= 90) {
    left.map.jumpTo({ center: [numbers[1], numbers[0]], zoom: Math.max(left.map.getZoom(), 10) });
    look(numbers);
  } else if (grids.a.tiles.features.some((one) => one.properties.tile === text.toUpperCase().replace(/^T/, ''))) {
    go_to_tile(text.toUpperCase().replace(/^T/, ''));
  } else {
    say_error(`“${text}” is neither a tile of this run nor a latitude and longitude, such as 45.81, 15.98.`);
  }
});

start().catch((error) => {
  const webgl = /webgl/i.test(String(error?.message));
  $('status').textContent = 'The map cannot be shown.';
  say_error(webgl ? 'The map needs WebGL, which this browser does not provide: turn on hardware acceleration or use another browser.' : String(error?.message ?? error));
});
