// Maps (MapLibre): one, or two on top of each other for swiping. Each shows raster layers of one run below common lines.

import { graticule } from './graticule.js';
import * as maplibregl from './vendor/maplibre-gl.mjs';

maplibregl.setWorkerUrl(new URL('./vendor/maplibre-gl-worker.mjs', import.meta.url).href);

const FONT = ['DejaVu Sans', 'sans-serif'];
const NOTHING = { type: 'FeatureCollection', features: [] };

export const STATUS = {
  done: ['#2f6f8f', 'done'],
  waiting: ['#d8a13a', 'not finished'],
  empty: ['#7c858c', 'empty: no clear pixels'],
  failed: ['#c62a1f', 'failed'],
  missing: ['#d8702a', 'missing'],
  damaged: ['#a32c9a', 'record damaged'],
};
export const SEAM_STOPS = [[1, '#9fb8c2', '1.0: same as the landscape'], [1.1, '#f2c230', '1.1'], [1.25, '#e2711d', '1.25: the limit of s2ops verify'], [1.6, '#b3151a', '1.6 and more']];
export const WHITE_HALO = { 'text-halo-color': '#ffffffdd', 'text-halo-width': 1.4 };

function style(basemap) {
  const sources = {
    graticule: { type: 'geojson', data: NOTHING },
    tiles: { type: 'geojson', data: NOTHING },
    names: { type: 'geojson', data: NOTHING },
    seams: { type: 'geojson', data: NOTHING },
    here: { type: 'geojson', data: NOTHING },
  };
  const status = ['match', ['get', 'status'], ...Object.entries(STATUS).flatMap(([name, [colour]]) => [name, colour]), '#7c858c'];
  const layers = [
    { id: 'ground', type: 'background', paint: { 'background-color': '#e4e9ec' } },
    { id: 'graticule', type: 'line', source: 'graticule', paint: { 'line-color': '#c3ccd1', 'line-width': 1 } },
    { id: 'graticule-text', type: 'symbol', source: 'graticule',
      layout: { 'symbol-placement': 'line', 'symbol-spacing': 420, 'text-field': ['get', 'text'], 'text-font': FONT, 'text-size': 11, 'text-offset': [0, -0.7] },
      paint: { 'text-color': '#6d7b84', 'text-halo-color': '#e4e9ec', 'text-halo-width': 1.2 } },
    { id: 'pixels', type: 'background', paint: { 'background-opacity': 0 } }, // raster layers are inserted before 'tiles-fill'
    { id: 'tiles-fill', type: 'fill', source: 'tiles', filter: ['!=', ['get', 'status'], 'done'], paint: { 'fill-color': status, 'fill-opacity': 0.35 } },
    { id: 'tiles-far', type: 'fill', source: 'tiles', filter: ['==', ['get', 'status'], 'done'], maxzoom: 0.01, paint: { 'fill-color': status, 'fill-opacity': 0.45 } },
    { id: 'tiles-casing', type: 'line', source: 'tiles', paint: { 'line-color': '#ffffff', 'line-opacity': 0.55, 'line-width': ['interpolate', ['linear'], ['zoom'], 4, 0.5, 8, 3] } },
    { id: 'tiles-line', type: 'line', source: 'tiles', paint: { 'line-color': ['match', ['get', 'status'], 'done', '#14303d', status], 'line-opacity': 0.8, 'line-width': ['interpolate', ['linear'], ['zoom'], 3, 0.1, 4, 0.4, 8, 1.2] } },
    { id: 'seams', type: 'line', source: 'seams', layout: { 'line-cap': 'round' }, paint: { 'line-width': ['interpolate', ['linear'], ['zoom'], 5, 1.5, 9, 5] } },
    { id: 'tiles-text', type: 'symbol', source: 'names', minzoom: 5.2,
      layout: { 'text-field': ['get', 'tile'], 'text-font': FONT, 'text-size': 13 }, paint: { 'text-color': '#14303d', ...WHITE_HALO } },
    { id: 'here-halo', type: 'circle', source: 'here', paint: { 'circle-radius': 10, 'circle-color': '#ffffff00', 'circle-stroke-color': '#fff', 'circle-stroke-width': 5 } },
    { id: 'here', type: 'circle', source: 'here', paint: { 'circle-radius': 10, 'circle-color': '#ffffff00', 'circle-stroke-color': '#c8551b', 'circle-stroke-width': 3 } },
  ];
  if (basemap) {
    sources.basemap = { type: 'raster', tiles: [basemap.url], tileSize: 256, attribution: basemap.credit };
    layers.splice(1, 0, { id: 'basemap', type: 'raster', source: 'basemap' });
  }
  return { version: 8, sources, layers };
}

/** A map. `view.runs` describes the runs; events are passed to the functions of `on`. */
export class RunMap {
  constructor(container, view, on, first) {
    this.view = view;
    this.shown = new Map(); // raster layer id -> URL template
    this.map = new maplibregl.Map({
      container, style: style(view.basemap), attributionControl: false, dragRotate: false, pitchWithRotate: false, touchPitch: false,
      maxZoom: 17, fadeDuration: 0, ...first,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.ready = new Promise((resolve) => this.map.once('load', resolve));
    this.map.on('error', (event) => on.error(event.error));
    this.map.on('click', (event) => on.click(event.lngLat));
    for (const name of ['dataloading', 'idle']) this.map.on(name, () => on.busy());
    this.map.on('move', () => on.move(this));
    this.map.on('moveend', () => this.draw_graticule());
    this.ready.then(() => this.draw_graticule());
  }

  add_controls(credit) {
    this.map.addControl(new maplibregl.NavigationControl({ showCompass: false }), 'top-left');
    this.map.addControl(new maplibregl.ScaleControl({ maxWidth: 110 }), 'bottom-left');
    this.map.addControl(new maplibregl.AttributionControl({ compact: false, customAttribution: credit }), 'bottom-right');
  }

  draw_graticule() {
    this.map.getSource('graticule')?.setData(graticule(this.map));
  }

  /** Show raster layers, the first at the bottom: [{id, run, layer, date, opacity}]. */
  show(wanted) {
    for (const [id] of this.shown) {
      if (!wanted.some((one) => one.id === id)) this.remove(id);
    }
    for (const one of wanted) {
      const run = this.view.runs[one.run];
      const date = one.date ? `date=${one.date}&` : '';
      const address = `${location.origin}/tiles/${one.run}/${one.layer}/{z}/{x}/{y}?${date}v=${run.version}`;
      if (this.shown.get(one.id) !== address) {
        this.remove(one.id);
        this.map.addSource(one.id, { type: 'raster', tiles: [address], tileSize: 512, minzoom: run.min_zoom, maxzoom: run.max_zoom, ...within(run.bounds) });
        const codes = !['truecolour', 'infrared', 'before', 'scene'].includes(one.layer);
        this.map.addLayer({ id: one.id, type: 'raster', source: one.id, paint: { 'raster-fade-duration': 0, 'raster-resampling': codes ? 'nearest' : 'linear' } }, 'tiles-fill');
        this.shown.set(one.id, address);
      }
      this.map.moveLayer(one.id, 'tiles-fill');
      this.map.setPaintProperty(one.id, 'raster-opacity', one.opacity ?? 1);
    }
  }

  remove(id) {
    if (!this.shown.delete(id)) return;
    this.map.removeLayer(id);
    this.map.removeSource(id);
  }

  /** Show or hide the lines. */
  mark(marks, when, min_zoom) {
    for (const id of ['tiles-fill', 'tiles-casing', 'tiles-line', 'tiles-text']) this.visible(id, marks.includes('tiles'));
    this.visible('tiles-far', min_zoom > 0);
    if (min_zoom > 0) this.map.setLayerZoomRange('tiles-far', 0, min_zoom);
    this.visible('seams', marks.includes('seams'));
    this.map.setFilter('seams', ['!=', ['get', when], null]);
    this.map.setPaintProperty('seams', 'line-color', ['interpolate', ['linear'], ['get', when], ...SEAM_STOPS.flatMap(([value, colour]) => [value, colour])]);
  }

  visible(id, yes) {
    this.map.setLayoutProperty(id, 'visibility', yes ? 'visible' : 'none');
  }

  data(source, value) {
    this.map.getSource(source)?.setData(value ?? NOTHING); // undefined until the map is ready
  }

  here(place) {
    this.data('here', place && { type: 'Feature', geometry: { type: 'Point', coordinates: [place[1], place[0]] }, properties: {} });
  }
}

/** Bounds of a source; none across the antimeridian, which MapLibre does not support. */
function within([west, south, east, north]) {
  return west < east ? { bounds: [west, Math.max(south, -85), east, Math.min(north, 85)] } : {};
}

export { NOTHING };
