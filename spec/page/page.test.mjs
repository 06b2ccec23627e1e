// The page of the local org in a headless Chromium, as people use it: by mouse, by keyboard, with a screen reader, on a phone, without
// JavaScript. Called by tools/check-page, with ORG (what the org said when it was ready), CHROMIUM and SHOTS (a directory for screenshots)
// in the environment.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import puppeteer from 'puppeteer-core';

const LIMIT = 60000; // it only ends what hangs
const org = JSON.parse(process.env.ORG);
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

let browser, page, complaints;

before(async () => {
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM, protocolTimeout: LIMIT,
    args: ['--disable-dev-shm-usage', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
  });
});

after(() => browser?.close());

// What the browser complains of: scripts that fail, and what the policy of the page keeps from running or loading.
async function open(path, { width = 1280, script = true } = {}) {
  await page?.close();
  page = await browser.newPage();
  page.setDefaultTimeout(LIMIT);
  complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('dialog', (dialog) => { complaints.push(dialog.message()); dialog.dismiss(); });
  await page.setJavaScriptEnabled(script);
  await page.setViewport({ width, height: 800 });
  await page.goto(org.control_url + path);
}

beforeEach(() => control('reset'));

async function control(name, body = {}) {
  const answer = await fetch(`${org.control_url}/sandbox/${name}`, { method: 'POST', body: JSON.stringify(body) });
  const value = await answer.json();
  assert.equal(answer.status, 200, value.error);
  return value;
}

async function api(method, path, body, type = 'application/json') {
  const answer = await fetch(`${org.url}/services/data/v66.0${path}`, {
    method, body: body && type === 'application/json' ? JSON.stringify(body) : body,
    headers: { Authorization: `Bearer ${org.token}`, ...(body && { 'Content-Type': type }) },
  });
  const text = await answer.text();
  return { status: answer.status, body: text && JSON.parse(text) };
}

async function until(what, check) {
  const end = Date.now() + LIMIT;
  for (;;) {
    const value = await check();
    if (value) return value;
    assert.ok(Date.now() < end, `never: ${what}`);
    await sleep(30);
  }
}

const state = async (id) => (await control('job', { id })).state;
const ended = (id) => until('the job ends', async () => ['JobComplete', 'Failed', 'Aborted'].includes(await state(id)));

async function create(object = 'Account', csv) {
  const { body } = await api('POST', '/jobs/ingest', { object, operation: 'insert' });
  if (csv) assert.equal((await api('PUT', `/jobs/ingest/${body.id}/batches`, csv, 'text/csv')).status, 201);
  return body.id;
}

const close = (id) => api('PATCH', `/jobs/ingest/${id}`, { state: 'UploadComplete' });

async function load(csv, object) {
  const id = await create(object, csv);
  await close(id);
  await ended(id);
  return id;
}

async function query(text) {
  const { status, body } = await api('POST', '/jobs/query', { operation: 'query', query: text });
  assert.equal(status, 200, JSON.stringify(body));
  await ended(body.id);
  return body.id;
}

// Empty while another page comes.
const words = () => page.evaluate(() => document.body.innerText).catch((error) => (/context was destroyed/.test(error.message) ? '' : Promise.reject(error)));
const shows = (piece) => until(`the page shows ${piece}`, async () => (await words()).includes(piece));
const here = () => page.url().slice(org.control_url.length);

// Presses a button or a link, and waits for the page that comes.
async function press(selector) {
  await Promise.all([page.waitForNavigation(), page.click(selector)]);
}

// Every kind of page, with data that would do harm as markup in all places that it can come to.
async function everyPage() {
  await control('define', { object: 'Ship__c', fields: [{ name: 'Name' }, { name: 'Text__c' }] });
  const good = await load(`Name,Ext__c\n"${EVIL.replaceAll('"', '""')}",1\n,2\n${'Wide '.repeat(40)},3\n`);
  const unknown = await load(`"${EVIL.replaceAll('"', '""')}"\nA\n`);
  await load(`Name\n"${EVIL.replaceAll('"', '""')}"\n`, 'Ship__c');
  await control('seed_jobs', { jobs: [{ object: EVIL, operation: EVIL, state: EVIL, createdById: EVIL }] });
  const all = (await control('jobs')).jobs;
  const seeded = all[all.length - 1].id;
  const found = await query(`SELECT Id, Name FROM Account WHERE Name != '${EVIL}x'`);
  await api('GET', `/jobs/ingest/${good}?x=${EVIL.replaceAll(' ', '%20')}`);
  await control('hold', { id: true, state: 'InProgress', rows: 1 });
  const running = await create('Account', 'Name\nA\nB\n');
  await close(running);
  await until('the job is held', async () => (await control('job', { id: running })).held);
  await control('fault', { path: EVIL, status: 503, body: EVIL });
  await control('set', { client_secret: EVIL });
  return ['/', `/jobs/${good}`, `/jobs/${unknown}`, `/jobs/${seeded}`, `/jobs/${found}`, `/jobs/${running}`, '/records', '/records?object=Ship__c',
    `/records?where=${encodeURIComponent(EVIL)}`, `/records?object=${encodeURIComponent(EVIL)}`, '/faults', '/settings',
    `/${encodeURIComponent(EVIL)}`];
}

test('the list of jobs keeps itself up to date', async () => {
  await open('/');
  await page.evaluate(() => { window.mark = 1; });
  const id = await create();
  await shows(id);
  await api('PATCH', `/jobs/ingest/${id}`, { state: 'Aborted' });
  await until('the state is shown', () => page.evaluate(() => document.querySelector('tbody tr').innerText.includes('Aborted')));
  assert.equal(await page.evaluate(() => window.mark), 1); // it was not loaded anew
  // What has the focus keeps it while the list grows, so the keyboard goes on where it was.
  await page.focus(`a[href="/jobs/${id}"]`);
  const next = await create();
  await shows(next);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('href')), `/jobs/${id}`);
  // A text that somebody has selected stays selected.
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector('tbody')));
  await create();
  await sleep(5000);
  assert.ok(!(await words()).includes('3 jobs'));
  await page.evaluate(() => getSelection().removeAllRanges());
  await shows('3 jobs');
  assert.deepEqual(complaints, []);
});

test('page after page of jobs', async () => {
  const { ids } = await control('seed_jobs', { count: 120, job: { state: 'JobComplete' } });
  await open('/');
  await shows(ids[119]);
  await press('a[href="/?page=2"]');
  await press('a[href="/?page=3"]');
  await shows(ids[0]);
  await press('a[href="/?page=2"]');
  await shows(ids[30]);
});

test('a job: timeline, requests, data and results, live, and the buttons', async () => {
  await control('hold', { id: true, state: 'InProgress', rows: 1 });
  const id = await create('Account', 'Name,Phone\nOne,1\n,2\nThree,3\n');
  await open('/');
  await press(`a[href="/jobs/${id}"]`);
  await page.evaluate(() => { window.mark = 1; });
  await shows('Name,Phone\nOne,1\n,2\nThree,3\n');
  assert.ok(!(await words()).includes('Successful results'));
  await close(id);
  await shows('InProgress (held)');
  assert.equal(await page.evaluate(() => document.querySelector('progress').value), 1);
  await control('release', { id: true });
  await shows('Successful results');
  assert.equal(await page.evaluate(() => window.mark), 1);
  const text = await words();
  for (const piece of ['"sf__Id","sf__Created",Name,Phone', '"true","One","1"', 'REQUIRED_FIELD_MISSING', 'Unprocessed records', '/batches']) {
    assert.ok(text.includes(piece), piece);
  }
  assert.match(text, /Timeline\n.*Open\n.*UploadComplete\n.*InProgress\n.*JobComplete\n/);
  const requests = await page.$$eval('[aria-label=Requests] tbody tr', (rows) => rows.map((row) => row.cells[1].innerText));
  assert.deepEqual(requests, ['PATCH', 'PUT', 'POST']);
  await press('form[action$="/delete"] button');
  assert.equal(here(), '/');
  assert.deepEqual((await control('jobs')).jobs, []);
  assert.deepEqual(complaints, []);
});

test('Abort by a click, and what the service says when it is too late', async () => {
  const id = await create('Account', 'Name\nA\n');
  await open(`/jobs/${id}`);
  assert.equal(await page.$('form[action$="/delete"]'), null); // the service would refuse it
  await press('form[action$="/abort"] button');
  assert.equal(await state(id), 'Aborted');
  assert.equal(here(), `/jobs/${id}`);
  assert.equal(await page.$('form[action$="/abort"]'), null);
  const other = await create();
  await open(`/jobs/${other}`, { script: false });
  await api('PATCH', `/jobs/ingest/${other}`, { state: 'Aborted' });
  await press('form[action$="/abort"] button');
  assert.equal(await page.$eval('[role=alert]', (e) => e.textContent), 'Aborting already Completed Job not allowed');
});

test('a job that is deleted meanwhile, and an org that has ended', async () => {
  const id = await create();
  await open(`/jobs/${id}`);
  await api('PATCH', `/jobs/ingest/${id}`, { state: 'Aborted' });
  await api('DELETE', `/jobs/ingest/${id}`);
  await shows('There is no such page');
  await open('/');
  await page.setRequestInterception(true);
  let lost = true;
  page.on('request', (request) => (lost ? request.abort() : request.continue()));
  await shows('The sandbox does not answer.');
  lost = false;
  await until('it answers again', async () => !(await words()).includes('does not answer'));
});

test('records by object, filtered', async () => {
  await load('Name,Industry,Flag__c\nAlpha,Tech,true\nBeta,Food,\n');
  await load('LastName\nGamma\n', 'Contact');
  await open('/records');
  assert.match(await words(), /2 records of Account in all/);
  await page.type('[name=where]', "Industry = 'Food' OR Name LIKE 'B%'");
  await press('main button');
  assert.match(await words(), /Beta/);
  assert.doesNotMatch(await words(), /Alpha/);
  await page.$eval('[name=where]', (e) => { e.value = ''; });
  await page.select('[name=object]', 'Contact');
  await press('main button');
  assert.match(await words(), /Gamma/);
  await page.type('[name=where]', 'Nothing = 1');
  await press('main button');
  assert.match(await page.$eval('[role=alert]', (e) => e.textContent), /Nothing/);
  assert.equal(await page.$eval('[name=where]', (e) => e.value), 'Nothing = 1');
});

test('faults are added, act, are counted and removed', async () => {
  await open('/faults');
  await page.select('[name=method]', 'GET');
  await page.type('[name=path]', '/limits');
  await page.type('[name=status]', '1000');
  await press('main form:last-of-type button');
  assert.equal(await page.$eval('[role=alert]', (e) => e.textContent), 'bad value for status: 1000');
  // What was filled in is still there.
  assert.equal(await page.$eval('[name=method]', (e) => e.value), 'GET');
  await page.$eval('[name=status]', (e) => { e.value = '503'; });
  await page.$eval('[name=count]', (e) => { e.value = '2'; });
  await press('main form:last-of-type button');
  assert.match(await words(), /method = GET, path = \/limits, status = 503/);
  assert.equal((await api('GET', '/limits')).status, 503);
  await until('the count goes down', () => page.$eval('tbody tr td:nth-child(3)', (e) => e.innerText === '1'));
  await press('form[action$="/remove"] button');
  await shows('No fault is active.');
  assert.equal((await api('GET', '/limits')).status, 200);
});

test('settings are changed, and wrong ones refused', async () => {
  await open('/settings');
  const put = async (text) => {
    await page.$eval('#set-slice_rows', (e) => { e.value = ''; });
    await page.type('#set-slice_rows', text);
    await press('button[aria-label="Set slice_rows"]');
  };
  await put('50');
  assert.equal((await control('settings')).slice_rows, 50);
  assert.equal(here(), '/settings#set-slice_rows');
  await put('0');
  assert.match(await page.$eval('[role=alert]', (e) => e.textContent), /^setting slice_rows must be a whole number from 1 on/);
  assert.equal(await page.$eval('#set-slice_rows', (e) => `${e.value} ${e.ariaInvalid}`), '0 true');
  assert.equal((await control('settings')).slice_rows, 50);
});

test('nothing of data is markup, and nothing scrolls sideways at 1280 and 360 pixels', async () => {
  for (const [i, path] of (await everyPage()).entries()) {
    for (const width of [1280, 360]) {
      await open(path, { width });
      const look = await page.evaluate(() => ({
        hacked: window.hacked ?? 0, images: document.images.length, scripts: document.scripts.length,
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        cut: [...document.querySelectorAll('button,input,select,td a')].filter((e) => e.getBoundingClientRect().right > innerWidth).length,
      }));
      assert.deepEqual(look, { hacked: 0, images: 0, scripts: 1, wide: 0, cut: 0 }, `${path} ${width}`);
      await page.screenshot({ path: `${process.env.SHOTS}/${i}-${width}.png`, fullPage: true });
      // The browser reports a page that is there with an error status; nothing else.
      assert.deepEqual(complaints.filter((text) => !/the server responded with a status of 40[04]/.test(text)), [], path);
    }
  }
  await open('/records');
  assert.ok((await words()).includes(EVIL));
});

test('every page is in order for a screen reader, in light and in dark', async () => {
  for (const path of await everyPage()) {
    await open(path);
    const tree = await page.accessibility.snapshot({ interestingOnly: false });
    const nodes = [];
    (function walk(node) { nodes.push(node); (node.children ?? []).forEach(walk); })(tree);
    const roles = (role) => nodes.filter((node) => node.role === role);
    for (const role of ['banner', 'navigation', 'main']) assert.equal(roles(role).length, 1, `${role} of ${path}`);
    assert.equal(roles('heading').filter((node) => node.level === 1).length, 1);
    for (const role of ['button', 'textbox', 'combobox', 'link', 'table', 'region', 'progressbar']) {
      for (const node of roles(role)) assert.ok(node.name, `${role} of ${path} without a name`);
    }
    const buttons = roles('button').map((node) => node.name);
    assert.equal(new Set(buttons).size, buttons.length, `buttons of ${path} that cannot be told apart`);
    for (const width of [1280, 360]) {
      await page.setViewport({ width, height: 800 });
      for (const value of ['light', 'dark']) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value }]);
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run(document));
        assert.deepEqual(violations.map(({ id, nodes: where }) => `${id}: ${where[0].html}`), [], `${path} ${width} ${value}`);
      }
      // On a phone rows are blocks; a screen reader still finds a table.
      const table = (await page.accessibility.snapshot({ interestingOnly: false }));
      const found = [];
      (function walk(node) { found.push(node.role); (node.children ?? []).forEach(walk); })(table);
      assert.equal(found.includes('cell'), await page.$('td') !== null, `cells of ${path} at ${width}`);
      assert.equal(found.includes('columnheader'), await page.$('td') !== null);
    }
  }
});

test('the keyboard reaches everything, in order, and works', async () => {
  for (const path of await everyPage()) {
    await open(path);
    const wanted = await page.$$eval('a,button,input:not([type=hidden]),select,[tabindex="0"]', (list) => list.map((e, i) => (e.dataset.at = i)));
    const reached = [];
    for (;;) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        return e === document.body ? null : { at: Number(e.dataset.at), outline: getComputedStyle(e).outlineStyle };
      });
      if (!at || reached.length > wanted.length) break;
      assert.notEqual(at.outline, 'none', `what has the focus shows it: ${path}`);
      reached.push(at.at);
    }
    assert.deepEqual(reached, wanted, path);
  }
  // The first step leads past the navigation; a job is aborted and deleted without a mouse.
  await control('reset');
  const id = await create();
  await open('/');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab'); // the table
  await page.keyboard.press('Tab'); // its first link
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  assert.equal(here(), `/jobs/${id}`);
  for (const [what, place] of [['Abort', `/jobs/${id}`], ['Delete', '/']]) {
    await until(`the focus is on ${what}`, async () => {
      await page.keyboard.press('Tab');
      return page.evaluate((text) => document.activeElement.innerText === text, what);
    });
    await Promise.all([page.waitForNavigation(), page.keyboard.press('Space')]);
    assert.equal(here(), place);
  }
  assert.deepEqual((await control('jobs')).jobs, []);
});

test('all of it works without JavaScript', async () => {
  const noScript = { script: false };
  const id = await create('Account', 'Name\nA\n');
  await open('/', noScript);
  await press(`a[href="/jobs/${id}"]`);
  await press('form[action$="/abort"] button');
  assert.equal(await state(id), 'Aborted');
  await press('form[action$="/delete"] button');
  assert.deepEqual((await control('jobs')).jobs, []);
  await open('/faults', noScript);
  await page.type('[name=status]', '500');
  await press('main form:last-of-type button');
  assert.equal((await control('faults')).faults[0].status, 500);
  await press('form[action$="/remove"] button');
  assert.deepEqual((await control('faults')).faults, []);
  await open('/settings', noScript);
  await page.click('#set-batch_rows', { count: 3 });
  await page.keyboard.type('77');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  assert.equal((await control('settings')).batch_rows, 77);
  await load('Name\nAlpha\nBeta\n');
  await open('/records', noScript);
  await page.type('[name=where]', "Name = 'Beta'");
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  const text = await page.content();
  assert.ok(text.includes('Beta') && !text.includes('Alpha'));
});
