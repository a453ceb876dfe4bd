// How long a reader has seen one image: runs while it is visible, and survives a reload of the page.

export class Clock {
  constructor() {
    this.name = null;
    this.before = 0;
    this.since = null;
    setInterval(() => this.keep(), 1000);
  }

  // Begin with an image that was seen for `seconds` already, as far as the server knows.
  set(presentation, seconds) {
    this.name = `seconds ${presentation}`;
    this.since = null;
    this.before = Math.max(seconds, Number(sessionStorage.getItem(this.name)) || 0);
  }

  run() {
    this.since ??= performance.now();
  }

  stop() {
    this.before = this.seconds();
    this.since = null;
    this.keep();
  }

  get running() {
    return this.since !== null;
  }

  seconds() {
    return this.before + (this.running ? (performance.now() - this.since) / 1000 : 0);
  }

  keep() {
    if (this.name) sessionStorage.setItem(this.name, String(this.seconds()));
  }

  forget() {
    this.stop();
    sessionStorage.removeItem(this.name);
    this.name = null;
  }
}
