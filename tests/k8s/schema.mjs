// SPDX-License-Identifier: Apache-2.0
// Checks the fields of rendered manifests against two sets of models that npm carries, each blind where the other sees:
//   @kubernetes/client-node's attribute maps: every field must exist at its place (misspelt, moved, removed ones are found);
//   kubernetes-models' JSON schemas: types, required fields, quantities.
//   usage: node schema.mjs FILE.json…   each a list of objects; prints FILE: Kind/name: what; exit 1 when anything was found
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import * as client from '@kubernetes/client-node/dist/gen/models/all.js';

const PRIMITIVE = new Set(['string', 'boolean', 'number', 'integer', 'any', 'object', 'Date', 'IntOrString', 'V1MicroTime']);

function walk(type, value, path, found) {
    if (value === null || value === undefined) return found.push(`${path}: is null`);
    const array = /^Array<(.*)>$/.exec(type);
    if (array) {
        if (!Array.isArray(value)) return found.push(`${path}: is no list`);
        return value.forEach((v, i) => walk(array[1], v, `${path}[${i}]`, found));
    }
    const map = /^\{ \[key: string\]: (.*); \}$/.exec(type);
    if (map) {
        if (typeof value !== 'object' || Array.isArray(value)) return found.push(`${path}: is no map`);
        return Object.entries(value).forEach(([k, v]) => walk(map[1], v, `${path}.${k}`, found));
    }
    if (PRIMITIVE.has(type)) return;
    const model = client[type];
    if (!model) return found.push(`${path}: no model ${type}`);
    if (typeof value !== 'object' || Array.isArray(value)) return found.push(`${path}: is no ${type}`);
    const fields = new Map(model.getAttributeTypeMap().map((a) => [a.baseName, a.type]));
    for (const [key, v] of Object.entries(value)) {
        if (fields.has(key)) walk(fields.get(key), v, `${path}.${key}`, found);
        else found.push(`${path}: unknown field ${key}`);
    }
}

async function check(object) {
    const found = [];
    const [version, group] = object.apiVersion.split('/').reverse();
    const type = version[0].toUpperCase() + version.slice(1) + object.kind;
    if (!client[type]) found.push(`no model for ${object.apiVersion} ${object.kind}`);
    else walk(type, object, object.kind, found);
    try {
        const module = await import(`kubernetes-models/${group ? `${group}/` : ''}${version}/${object.kind}`);
        new module[object.kind](object).validate();
    } catch (error) {
        found.push(error.code === 'ERR_MODULE_NOT_FOUND' ? `no schema for ${object.apiVersion}` : error.message);
    }
    return found;
}

let bad = 0;
for (const file of process.argv.slice(2)) {
    for (const object of JSON.parse(readFileSync(file, 'utf8'))) {
        for (const what of await check(object)) {
            console.log(`${basename(file)}: ${object.kind}/${object.metadata.name}: ${what}`);
            bad = 1;
        }
    }
}
process.exit(bad);
