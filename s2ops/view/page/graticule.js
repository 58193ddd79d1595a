// Graticule (lines of longitude and latitude with labels) of the visible area: the background without a basemap.

const STEPS = [[3, 20], [4, 10], [5.5, 5], [7, 2], [8.5, 1], [10, 0.5], [11.5, 0.2], [13, 0.1], [14.5, 0.05]];

function label(value, positive, negative, digits) {
  if (value === 0) return '0°';
  return `${Math.abs(value).toFixed(digits)}° ${value > 0 ? positive : negative}`;
}

export function graticule(map) {
  const zoom = map.getZoom();
  const step = (STEPS.find(([most]) => zoom < most) ?? [0, 0.02])[1];
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  const box = map.getBounds();
  const [west, east] = [box.getWest(), box.getEast()].map((lon) => Math.max(-540, Math.min(540, lon)));
  const [south, north] = [Math.max(-84, box.getSouth()), Math.min(84, box.getNorth())];
  const features = [];
  const add = (coordinates, text) => features.push({
    type: 'Feature', geometry: { type: 'LineString', coordinates }, properties: { text },
  });
  for (let n = Math.ceil(west / step); n * step <= east && features.length < 200; n++) {
    const lon = n * step;
    add([[lon, south], [lon, north]], label(((lon + 540) % 360) - 180, 'E', 'W', digits));
  }
  for (let n = Math.ceil(south / step); n * step <= north && features.length < 400; n++) {
    add([[west, n * step], [east, n * step]], label(n * step, 'N', 'S', digits));
  }
  return { type: 'FeatureCollection', features };
}
