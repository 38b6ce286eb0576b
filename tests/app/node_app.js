// SPDX-License-Identifier: MIT
//
// node_app.js DATABASE - a Node application that keeps one connection and its prepared statements open, of node:sqlite where this
// node has it, else of the package sqlite3. Each line of stdin is a request, "GET" or "POST TEXT" ("stop" ends); each answer is a
// line of JSON: the notes that there are, or the error. "node_app.js --check" ends with status 0 if one of the two is there.
'use strict';
const { once } = require('node:events');
const { promisify } = require('node:util');
const readline = require('node:readline');

// open(PATH): { exec(sql), prepare(sql) -> { all(...values), run(...values) } }, each a promise or a value.
function library() {
	try {
		const { DatabaseSync } = require('node:sqlite');
		return (path) => new DatabaseSync(path);
	} catch {
		const { Database } = require('sqlite3');
		return (path) => {
			const db = new Database(path);
			return {
				exec: promisify(db.exec.bind(db)),
				prepare(sql) {
					const statement = db.prepare(sql);
					const call = (verb) => promisify(statement[verb].bind(statement));
					return { all: call('all'), run: call('run') };
				},
			};
		};
	}
}

async function serve(path) {
	const db = library()(path);

	await db.exec('PRAGMA busy_timeout=5000');
	await db.exec(`PRAGMA journal_mode=${process.env.JOURNAL ?? 'delete'}`);
	await db.exec('CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT)');
	const all = db.prepare('SELECT text FROM notes ORDER BY id');
	const add = db.prepare('INSERT INTO notes(text) VALUES(?)');

	console.log('ready');
	for await (const line of readline.createInterface({ input: process.stdin })) {
		if (line === 'stop') break;
		let answer;
		try {
			if (line.startsWith('POST ')) await add.run(line.slice(5));
			answer = (await all.all()).map((row) => row.text);
		} catch (error) {
			answer = String(error);
		}
		if (!process.stdout.write(`${JSON.stringify(answer)}\n`)) await once(process.stdout, 'drain');
	}
	process.exit(0);
}

if (process.argv[2] === '--check') library();
else serve(process.argv[2]);
