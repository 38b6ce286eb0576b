// SPDX-License-Identifier: MIT
//
// node_app.js DATABASE - a Node application that keeps one connection of node:sqlite and its prepared statements open. Each line
// of stdin is a request, "GET" or "POST TEXT" ("stop" ends); each answer is a line of JSON: the notes that there are, or the error.
'use strict';
const readline = require('node:readline');
const { DatabaseSync } = require('node:sqlite');

const db = new DatabaseSync(process.argv[2]);
db.exec(`PRAGMA journal_mode=${process.env.JOURNAL ?? 'delete'}`);
db.exec('PRAGMA busy_timeout=5000');
db.exec('CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT)');
const all = db.prepare('SELECT text FROM notes ORDER BY id');
const add = db.prepare('INSERT INTO notes(text) VALUES(?)');

console.log('ready');
readline.createInterface({ input: process.stdin }).on('line', (line) => {
	if (line === 'stop') process.exit(0);
	let answer;
	try {
		if (line.startsWith('POST ')) add.run(line.slice(5));
		answer = all.all().map((row) => row.text);
	} catch (error) {
		answer = String(error);
	}
	console.log(JSON.stringify(answer));
});
