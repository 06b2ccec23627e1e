// Whole lives of jobs by jsforce against the local org: signing in, every operation, results, pages, and a session that ends meanwhile.
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import jsforce from 'jsforce';

const { Connection } = jsforce;
const org = JSON.parse(process.env.ORG);

async function control(name, body = {}) {
  const answer = await fetch(`${org.control_url}/sandbox/${name}`, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  return answer.json();
}

function connect(options = {}) {
  const connection = new Connection({ instanceUrl: org.url, accessToken: org.token, version: '66.0', ...options });
  connection.bulk2.pollInterval = 50;
  connection.bulk2.pollTimeout = 30000;
  return connection;
}

const rows = (n) => Array.from({ length: n }, (_, i) => ({ Name: `Row "${i}",\né`, Ext__c: `E${i}`, NumberOfEmployees: i }));

test('an identity, describe, and records one by one', async () => {
  await control('reset');
  const connection = connect();
  assert.equal((await connection.identity()).username, 'integration@sandbox.example');
  const description = await connection.sobject('Account').describe();
  assert.equal(description.fields.find((field) => field.name === 'Id').type, 'id');
  assert.ok((await connection.describeGlobal()).sobjects.some((object) => object.name === 'Contact'));
  const made = await connection.sobject('Account').create({ Name: 'One', AnnualRevenue: 1.5 });
  assert.equal(made.success, true);
  assert.equal((await connection.sobject('Account').retrieve(made.id)).AnnualRevenue, 1.5);
  await connection.sobject('Account').update({ Id: made.id, Name: 'Two' });
  assert.equal((await connection.query("SELECT Name FROM Account WHERE Name LIKE 'Tw%'")).records[0].Name, 'Two');
  await connection.sobject('Account').destroy(made.id);
  assert.equal((await connection.query('SELECT Id FROM Account')).totalSize, 0);
  await assert.rejects(connection.sobject('Account').create({ Phone: '1' }), { errorCode: 'REQUIRED_FIELD_MISSING' });
});

test('insert, update, upsert and delete in bulk', async () => {
  await control('reset');
  const connection = connect();
  const inserted = await connection.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'insert', input: [...rows(20), { Phone: '1' }] });
  assert.equal(inserted.successfulResults.length, 20);
  assert.equal(inserted.failedResults.length, 1);
  assert.match(inserted.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:/);
  assert.equal(inserted.unprocessedRecords.length, 0);
  const ids = inserted.successfulResults.map((row) => row.sf__Id);
  const updated = await connection.bulk2.loadAndWaitForResults({
    object: 'Account', operation: 'update', input: ids.map((Id) => ({ Id, Industry: 'Tech' })),
  });
  assert.equal(updated.successfulResults.length, 20);
  const upserted = await connection.bulk2.loadAndWaitForResults({
    object: 'Account', operation: 'upsert', externalIdFieldName: 'Ext__c', input: rows(25),
  });
  assert.equal(upserted.successfulResults.filter((row) => row.sf__Created === 'true').length, 5);
  const deleted = await connection.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'delete', input: ids.map((Id) => ({ Id })) });
  assert.equal(deleted.successfulResults.length, 20);
  assert.equal((await control('count', { object: 'Account' })).count, 5);
});

test('a job step by step, and one that is aborted', async () => {
  await control('reset');
  const connection = connect();
  const job = connection.bulk2.createJob({ object: 'Account', operation: 'insert' });
  await job.open();
  await job.uploadData(Readable.from(['Name\nA\n', 'B\n']));
  await assert.rejects(job.uploadData('Name\nC\n'));
  await job.close();
  await job.poll(50, 30000);
  assert.equal((await job.check()).numberRecordsProcessed, 2);
  assert.equal((await job.getAllResults()).successfulResults.length, 2);
  await job.delete();
  await assert.rejects(job.check(), { errorCode: 'NOT_FOUND' });
  const other = connection.bulk2.createJob({ object: 'Account', operation: 'insert' });
  await other.open();
  await other.abort();
  assert.equal((await other.check()).state, 'Aborted');
  await assert.rejects(connection.bulk2.createJob({ object: 'Nothing__c', operation: 'insert' }).open(), { errorCode: 'INVALIDENTITY' });
});

// jsforce 3.10 ends its stream after the first page, so several pages are left to the other clients.
test('a query, also with deleted rows', async () => {
  await control('reset');
  const connection = connect();
  const { successfulResults } = await connection.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'insert', input: rows(55) });
  await connection.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'delete', input: [{ Id: successfulResults[0].sf__Id }] });
  const found = await (await connection.bulk2.query('SELECT Id, Name FROM Account')).toArray();
  assert.equal(found.length, 54);
  assert.equal(new Set(found.map((row) => row.Id)).size, 54);
  assert.match(found[0].Name, /^Row "\d+",\né$/);
  assert.equal((await (await connection.bulk2.query('SELECT Id FROM Account', { scanAll: true })).toArray()).length, 55);
  await assert.rejects(connection.bulk2.query('SELECT COUNT() FROM Account'), /Aggregate Relationships not supported/);
});

test('signing in, and again when the session has ended', async () => {
  await control('reset');
  const connection = new Connection({
    version: '66.0', oauth2: { loginUrl: org.url, clientId: '3MVG9.sandbox.app', clientSecret: 'the.secret.of.the.app' },
  });
  await connection.authorize({ grant_type: 'client_credentials' });
  assert.equal(connection.instanceUrl, org.url);
  const refreshed = connect({
    accessToken: 'no.token',
    refreshFn: (_, done) => done(null, connection.accessToken),
  });
  assert.equal((await refreshed.query('SELECT Id FROM User')).totalSize, 1);
});

test('raw results as they are', async () => {
  await control('reset');
  const connection = connect();
  const job = connection.bulk2.createJob({ object: 'Account', operation: 'insert' });
  await job.open();
  await job.uploadData('Name\nA\n');
  await job.close();
  await job.poll(50, 30000);
  const stream = connection.request(`/services/data/v66.0/jobs/ingest/${job.id}/successfulResults`).stream();
  assert.match(String(await buffer(stream)), /^"sf__Id","sf__Created",Name\n/);
});
