// SPDX-License-Identifier: Apache-2.0
// What a person reads on weir's page, without a browser: runs its script on a document of the few things that it uses, with what
// fetch gives standing on stdin. usage: page_text.mjs PAGE.html <STATUS.json     prints a line a block (p, div, tr, h2)
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

class Element {
    constructor(name) {
        Object.assign(this, { name, children: [], style: {}, attributes: {}, className: '' });
        this.classList = { add: (word) => { this.className += ' ' + word; } };
    }
    setAttribute(name, value) { this.attributes[name] = String(value); }
    append(...nodes) {
        for (const node of nodes) {
            if (node === undefined || node === null) throw new Error(`${node} in <${this.name}>`); // a browser would show the word
            this.children.push(typeof node === 'object' ? node : String(node));
        }
    }
    replaceChildren(...nodes) { this.children = []; this.append(...nodes); }
    querySelectorAll(name) {
        return this.children.filter((c) => c instanceof Element).flatMap((c) => [...(c.name === name ? [c] : []), ...c.querySelectorAll(name)]);
    }
    set textContent(text) { this.children = [String(text)]; }
    text() {
        const block = ['p', 'div', 'tr', 'h2', 'section', 'table'].includes(this.name);
        const inner = this.children.map((c) => (c instanceof Element ? c.text() : c)).filter((t) => t !== '').join(this.name === 'tr' ? ' | ' : ' ');
        return block ? `\n${inner}\n` : inner;
    }
}

const page = readFileSync(process.argv[2], 'utf8');
const status = JSON.parse(readFileSync(0, 'utf8'));
const named = new Map();
const document = {
    createElement: (name) => new Element(name),
    getElementById(id) {
        if (!page.includes(`id="${id}"`)) return null;
        if (!named.has(id)) named.set(id, new Element('p'));
        return named.get(id);
    },
};
const script = /<script>(.*)<\/script>/s.exec(page)[1];
const shown = new Promise((done) => {
    const fetch = async () => ({ ok: true, json: async () => status });
    vm.runInNewContext(script, { document, fetch, setTimeout: done, Date, Math, Object, Error });
});
await shown;
console.log([...named.values()].map((e) => e.text()).join('\n').replace(/ *\n\s*/g, '\n').trim());
