// Side panel: controls, legends and progress of the run. It changes `state` and calls `changed`.

import { SEAM_STOPS, STATUS } from './map.js';
import { count, day, el, swatch } from './words.js';

const PICTURES = ['truecolour', 'infrared', 'before', 'scene', 'none'];
const TOPS = ['none', 'landcover', 'confidence', 'dates'];

export const $ = (id) => document.getElementById(id);

export class Panel {
  constructor(view, state, changed, go_to) {
    Object.assign(this, { view, state, changed, go_to });
    const layers = view.runs.a.layers;
    this.choices($('pictures'), 'picture', PICTURES.map((key) => [key, key === 'none' ? 'None' : layers[key].label]));
    this.choices($('tops'), 'top', TOPS.filter((key) => key === 'none' || layers[key]).map((key) => [key, key === 'none' ? 'Nothing' : layers[key].label]));
    this.listen('date', 'change', (value) => { state.date = value; });
    this.listen('opacity', 'input', (value) => { state.opacity = Number(value); });
    this.listen('seams-when', 'change', (value) => { state.seams = value; });
    this.listen('right', 'change', (value) => { state.right = value; });
    this.listen('swipe', 'input', (value) => { state.swipe = Number(value); });
    for (const mark of ['tiles', 'seams', 'holes']) {
      $(`mark-${mark}`).addEventListener('change', (event) => {
        state.marks = event.target.checked ? [...state.marks, mark] : state.marks.filter((one) => one !== mark);
        changed();
      });
    }
    $('seams-legend').replaceChildren(...SEAM_STOPS.map(([, colour, words]) => el('li', swatch(colour), words)));
    $('tiles-legend').replaceChildren();
    this.rebuild();
  }

  listen(id, event, take) {
    $(id).addEventListener(event, (happened) => {
      take(happened.target.value);
      this.changed();
    });
  }

  choices(box, name, entries) {
    box.replaceChildren(...entries.map(([key, words]) => {
      const input = el('input');
      Object.assign(input, { type: 'radio', name, value: key });
      input.addEventListener('change', () => {
        this.state[name] = key;
        this.changed();
      });
      return el('label', input, el('span', words));
    }));
  }

  /** Rebuild the parts that depend on the runs, which may have changed. */
  rebuild() {
    const { a } = this.view.runs;
    const days = [...a.dates].reverse();
    $('date').replaceChildren(...days.map((iso) => option(iso, day(iso))));
    $('pictures').querySelector('[value=scene]').closest('label').hidden = !days.length;
    const groups = Object.entries(this.view.runs).map(([name, run]) => {
      const group = el('optgroup');
      group.label = run.title;
      const plain = Object.entries(run.layers).filter(([key, one]) => !one.dated && key !== 'holes');
      group.append(...plain.map(([key, one]) => option(`${name}:${key}`, one.label)));
      group.append(...[...run.dates].reverse().map((iso) => option(`${name}:scene:${iso}`, `Scenes of ${day(iso)}`)));
      return group;
    });
    $('right').replaceChildren(option('', 'none (no swipe line)'), ...groups);
    this.progress(a);
    this.troubled(a);
    const problems = Object.values(this.view.runs).flatMap((run) => run.problems);
    $('problems-box').hidden = !problems.length;
    $('problems-count').textContent = `(${problems.length})`;
    $('problems').replaceChildren(...problems.map((problem) => el('li', problem)));
    this.sync();
  }

  progress(run) {
    $('title').textContent = Object.values(this.view.runs).map((one) => one.title).join(' and ');
    document.title = `${run.title}: s2ops view`;
    const finished = (run.counts.done ?? 0) + (run.counts.empty ?? 0);
    const others = ['waiting', 'failed', 'missing', 'damaged'].filter((name) => run.counts[name]);
    const words = others.map((name) => `${run.counts[name].toLocaleString('en-GB')} ${STATUS[name][1]}`);
    const head = finished === run.tiles ? `All ${count(run.tiles, 'tile')} done` : `${finished.toLocaleString('en-GB')} of ${count(run.tiles, 'tile')} done`;
    this.summary = [head, ...words].join(', ') + (run.complete ? '' : '; records are still being read');
    $('progress').hidden = finished === run.tiles;
    $('progress-done').style.setProperty('--done', `${(100 * finished) / run.tiles}%`);
  }

  troubled(run) {
    $('tiles-count').textContent = `(${run.tiles.toLocaleString('en-GB')})`;
    const present = Object.entries(STATUS).filter(([name]) => run.counts[name]);
    $('tiles-legend').replaceChildren(...present.map(([name, [colour, words]]) => el('li', swatch(colour), `${run.counts[name].toLocaleString('en-GB')} ${words}`)));
    $('troubled').replaceChildren(...run.troubled.map((one) => {
      const button = el('button', el('b', one.tile), el(`span.badge.${one.status}`, STATUS[one.status][1]), el('span.small', one.reason));
      button.type = 'button';
      button.addEventListener('click', () => this.go_to(one.tile));
      return el('li', button);
    }));
    if (run.troubled.length) $('tiles-box').open = true;
  }

  /** Update the controls from the state. */
  sync() {
    const { state } = this;
    const layers = this.view.runs.a.layers;
    for (const name of ['picture', 'top']) {
      const wanted = document.querySelector(`input[name=${name}][value="${CSS.escape(state[name])}"]`);
      if (wanted) wanted.checked = true;
    }
    if (!this.view.runs.a.dates.includes(state.date)) state.date = '';
    $('date').value = state.date || this.view.runs.a.dates.at(-1) || '';
    $('date-row').hidden = state.picture !== 'scene';
    $('opacity').value = state.opacity;
    $('opacity-out').value = `${state.opacity} %`;
    $('opacity-row').hidden = state.top === 'none';
    for (const mark of ['tiles', 'seams', 'holes']) $(`mark-${mark}`).checked = state.marks.includes(mark);
    $('seams-row').hidden = !state.marks.includes('seams');
    $('seams-when').value = state.seams;
    $('right').value = state.right;
    if ($('right').value !== state.right) $('right').value = state.right = '';
    const right = state.right.split(':')[1];
    const legends = [...new Set([state.top, right])].filter((key) => layers[key]?.legend.length);
    for (const id of ['legend', 'small-legend']) {
      $(id).replaceChildren(...legends.flatMap((key) => legend(key, layers[key], legends.length > 1)));
    }
    $('small-key').hidden = !legends.length;
  }
}

function option(value, words) {
  const made = el('option', words);
  made.value = value;
  return made;
}

function legend(key, layer, titled) {
  const title = titled ? [el('h3', layer.label)] : [];
  if (key === 'confidence') {
    const ramp = el('div.ramp');
    ramp.style.background = `linear-gradient(to right, ${layer.legend.map(([colour]) => colour).join(', ')})`;
    const ends = el('div.ends', ...layer.legend.map(([, words]) => el('span', words)));
    return [...title, el('p.small', 'Probability of the class shown'), ramp, ends];
  }
  const list = el('ul.legend', ...layer.legend.map(([colour, words]) => el('li', swatch(colour), key === 'dates' ? day(words) : words)));
  if (layer.legend.length > 4 && key !== 'dates') list.classList.add('many');
  return [...title, list];
}
