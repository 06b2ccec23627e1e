// What jsforce takes for a whole load up to its closes: a job for each of the files, all at the same time. JSFORCE is the directory in
// which it was installed.
//
//   node jsforce.mjs URL TOKEN FILE...
import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';

const { Connection } = createRequire(`${process.env.JSFORCE}/`)('jsforce');
const [instanceUrl, accessToken, ...files] = process.argv.slice(2);
const connection = new Connection({ instanceUrl, accessToken, version: '66.0' });

async function load(file) {
  const job = connection.bulk2.createJob({ object: 'Account', operation: 'insert' });
  await job.open();
  await job.uploadData(createReadStream(file));
  await job.close();
}

await Promise.all(files.map(load));
