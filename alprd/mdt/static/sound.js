// Generated tones, no files: [frequency in Hz, start in s, length in s] by priority.
const PATTERNS = {
  high: [[880, 0, 0.18], [1245, 0.2, 0.18], [880, 0.4, 0.18], [1245, 0.6, 0.18], [880, 0.8, 0.18], [1245, 1.0, 0.25]],
  medium: [[740, 0, 0.2], [740, 0.35, 0.2]],
  low: [[520, 0, 0.25]],
  changed: [[1000, 0, 0.2], [700, 0.22, 0.2], [450, 0.44, 0.35], [1000, 0.9, 0.2], [700, 1.12, 0.2], [450, 1.34, 0.35]],
};
// How often a card sounds until it is dealt with, and how far apart (s). High never stops.
const TIMES = { high: Infinity, medium: 3, low: 1, changed: 2 };
const EVERY = { high: 2.5, medium: 4, low: 4, changed: 3 };
const RANK = { changed: 0, high: 0, medium: 1, low: 2 };

export class Sounds {
  constructor(onBlocked) {
    this.onBlocked = onBlocked;
    this.context = new AudioContext();
    this.due = new Map(); // card id -> {pattern, then, left, at}
    this.context.addEventListener("statechange", () => this.tell());
    // Any touch counts as leave to make sound.
    for (const kind of ["pointerdown", "keydown"]) {
      document.addEventListener(kind, () => this.unblock(), { passive: true });
    }
    setInterval(() => this.tick(), 200);
    this.tell();
  }

  get running() {
    return this.context.state === "running";
  }

  tell() {
    this.onBlocked(!this.running);
  }

  unblock() {
    if (!this.running) this.context.resume().then(() => this.tell(), () => this.tell());
  }

  // Sound `pattern` for a card, and `then` after it.
  // News is heard at once: what sounds now ends for it, unless that is graver, and is repeated.
  start(id, pattern, then = null) {
    this.due.set(id, { pattern, then, left: TIMES[pattern], at: 0 });
    if (this.sounding && RANK[pattern] <= RANK[this.sounding]) {
      const cut = this.of !== id && this.due.get(this.of);
      if (cut) Object.assign(cut, { left: cut.left + 1, at: performance.now() / 1000 });
      this.hush();
    }
    this.tick(id);
  }

  // A card that was dealt with is silent at once, in the middle of its pattern too.
  stop(id) {
    this.due.delete(id);
    if (this.of === id) this.hush();
  }

  // End what sounds now, without a click of the loudspeaker.
  hush() {
    this.busyUntil = 0;
    this.sounding = this.of = null;
    if (!this.out) return;
    const now = this.context.currentTime;
    this.out.gain.setValueAtTime(1, now);
    this.out.gain.linearRampToValueAtTime(0, now + 0.01);
    for (const tone of this.tones) tone.stop(now + 0.012);
    this.out = null;
  }

  tick(first = null) {
    const now = performance.now() / 1000;
    if (now < (this.busyUntil ?? 0)) return;
    this.sounding = this.of = null;
    const ready = [...this.due].filter(([, one]) => one.at <= now);
    if (!ready.length) return;
    // The gravest, of these the newcomer, then who has waited longest: nobody is starved.
    ready.sort(([a, one], [b, other]) =>
      RANK[one.pattern] - RANK[other.pattern] || (b === first) - (a === first) || one.at - other.at);
    const [id, one] = ready[0];
    this.play(one.pattern, id);
    one.left -= 1;
    one.at = now + EVERY[one.pattern];
    if (one.left > 0) return;
    if (one.then) this.due.set(id, { pattern: one.then, then: null, left: TIMES[one.then], at: one.at });
    else this.due.delete(id);
  }

  play(pattern, id = "") {
    const tones = PATTERNS[pattern];
    const last = tones[tones.length - 1];
    this.busyUntil = performance.now() / 1000 + last[1] + last[2];
    this.sounding = pattern;
    this.of = id;
    document.body.dataset.lastSound = pattern;
    document.body.dataset.soundOf = id;
    document.body.dataset.soundAt = String(Math.round(performance.timeOrigin + performance.now()));
    if (!this.running) return;
    this.out = this.context.createGain();
    this.out.connect(this.context.destination);
    this.tones = [];
    for (const [frequency, start, length] of tones) {
      const tone = this.context.createOscillator();
      const gain = this.context.createGain();
      const from = this.context.currentTime + start;
      tone.type = "square";
      tone.frequency.value = frequency;
      gain.gain.setValueAtTime(0, from);
      gain.gain.linearRampToValueAtTime(0.25, from + 0.01);
      gain.gain.setValueAtTime(0.25, from + length - 0.02);
      gain.gain.linearRampToValueAtTime(0, from + length);
      tone.connect(gain).connect(this.out);
      this.tones.push(tone);
      tone.start(from);
      tone.stop(from + length);
    }
  }
}
