// Whole lives of jobs by node-sf-bulk2 against the local org: ingest, multipart, queries page after page and by parallel links.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import bulk from 'node-sf-bulk2';

const { BulkAPI2 } = bulk;
const SUCCESSFUL = 0, FAILED = 1, UNPROCESSED = 2; // its enum RESULTTYPE, which it does not hand out
const org = JSON.parse(process.env.ORG);
const api = new BulkAPI2({ accessToken: org.token, instanceUrl: org.url, apiVersion: '66.0' });

async function control(name, body = {}) {
  const answer = await fetch(`${org.control_url}/sandbox/${name}`, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200);
  return answer.json();
}

async function ended(look) {
  for (;;) {
    const job = await look();
    if (['JobComplete', 'Failed', 'Aborted'].includes(job.state)) return job;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const csv = (n) => 'Name,Ext__c\n' + Array.from({ length: n }, (_, i) => `Row ${i},E${i}\n`).join('');

async function load(text) {
  const job = await api.createDataUploadJob({ object: 'Account', operation: 'insert' });
  assert.equal(await api.uploadJobData(job.contentUrl, text), 201);
  assert.equal((await api.closeOrAbortJob(job.id, 'UploadComplete')).state, 'UploadComplete');
  return ended(() => api.getIngestJobInfo(job.id));
}

test('ingest: results of each kind, a listing, delete', async () => {
  await control('reset');
  const job = await load(csv(10) + ',E99\n');
  assert.equal(job.numberRecordsProcessed, 11);
  assert.equal((await api.getResults(job.id, SUCCESSFUL)).trim().split('\n').length, 11);
  assert.match(await api.getResults(job.id, FAILED), /REQUIRED_FIELD_MISSING/);
  assert.equal((await api.getResults(job.id, UNPROCESSED)).trim(), 'Name,Ext__c');
  assert.equal((await api.getAllIngestJobInfo()).records[0].id, job.id);
  await api.deleteIngestJob(job.id);
  assert.equal((await api.getAllIngestJobInfo()).records.length, 0);
});

test('ingest: aborted, and with its data in one request', async () => {
  await control('reset');
  const job = await api.createDataUploadJob({ object: 'Account', operation: 'insert' });
  assert.equal((await api.closeOrAbortJob(job.id, 'Aborted')).state, 'Aborted');
  const whole = await api.createDataUploadJobWithData({ object: 'Account', operation: 'insert' }, csv(3));
  assert.equal((await ended(() => api.getIngestJobInfo(whole.id))).numberRecordsProcessed, 3);
  assert.equal((await control('count', { object: 'Account' })).count, 3);
});

test('query: pages one after the other, and by links in each shape', async () => {
  await control('reset');
  await load(csv(73));
  await control('set', { query_page_records: 10 });
  const job = await api.submitBulkQueryJob({ operation: 'query', query: 'SELECT Name FROM Account' });
  await ended(() => api.getBulkQueryJobInfo(job.id));
  let locator, rows = 0;
  do {
    const page = await api.getBulkQueryResults(job.id, locator);
    rows += Number(page.headers['sforce-numberofrecords']);
    locator = page.headers['sforce-locator'];
  } while (locator !== 'null');
  assert.equal(rows, 73);
  await control('set', { result_pages: 'resultChunks' });
  const { resultChunks } = await api.getBulkQueryResultPages(job.id);
  assert.equal(resultChunks.length, 5);
  for (const { resultLink } of resultChunks) {
    assert.equal((await api.getResultPage(resultLink)).headers['sforce-numberofrecords'], '10');
  }
  await api.deleteBulkQueryJob(job.id);
});
