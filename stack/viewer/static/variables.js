// Dashboard variables, and the macros of queries and links.

import { fetchJson } from "./dom.js";
import { resolve } from "./range.js";

const ALL = "$__all";
const escapeRegex = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\\\$&");
const quoted = (text) => text.replaceAll('"', '\\"');

export class Variables {
  constructor(definitions, query) {
    this.definitions = definitions.filter((definition) => definition.type === "query");
    this.values = Object.fromEntries(
      this.definitions.map((definition) => {
        const given = query.get(`var-${definition.name}`);
        return [definition.name, given || definition.current?.value || ALL];
      }),
    );
  }

  isAll(name) {
    return this.values[name] === ALL || this.values[name] === "All" || !this.values[name];
  }

  forQuery(name) {
    const definition = this.definitions.find((item) => item.name === name);
    if (!definition) return undefined;
    return this.isAll(name) ? definition.allValue || ".*" : quoted(escapeRegex(this.values[name]));
  }

  async choices(definition, range) {
    const match = /^label_values\((?:(.+),\s*)?(\w+)\)$/s.exec(definition.query);
    if (!match) throw new Error(`cannot read ${definition.query}`);
    const { start, end } = resolve(range);
    const asked = new URLSearchParams({ start, end });
    if (match[1]) asked.set("match[]", this.inQuery(match[1], range));
    const answer = await fetchJson(`/api/prometheus/label/${match[2]}/values?${asked}`);
    return answer.data;
  }

  inQuery(text, range) {
    const { start, end, step } = resolve(range);
    const macros = {
      __rate_interval: `${Math.max(step + 5, 20)}s`,
      __interval: `${step}s`,
      __range: `${Math.round(end - start)}s`,
    };
    return text.replace(/\$\{?(\w+)\}?/g, (all, name) => macros[name] ?? this.forQuery(name) ?? all);
  }

  // A link's address: `labels` of the series clicked, `fields` of the table's row.
  inLink(text, range, { labels = {}, fields = {} } = {}) {
    const { from, to } = resolve(range);
    const encode = encodeURIComponent;
    return text
      .replaceAll("${__url_time_range}", `from=${encode(range.from)}&to=${encode(range.to)}`)
      .replaceAll("${__from}", String(Math.round(from * 1000)))
      .replaceAll("${__to}", String(Math.round(to * 1000)))
      .replace(/\$\{__field\.labels\.(\w+)\}/g, (_, name) => encode(labels[name] ?? ALL))
      .replace(/\$\{__data\.fields\.([^}]+)\}/g, (_, name) => encode(fields[name] ?? ""))
      .replace(/\$\{(\w+)\}/g, (_, name) => encode(this.isAll(name) ? ALL : this.values[name]))
      .replaceAll("${runbooks:raw}/", "/");
  }

  query() {
    const chosen = Object.entries(this.values).filter(([name]) => !this.isAll(name));
    return Object.fromEntries(chosen.map(([name, value]) => [`var-${name}`, value]));
  }
}
