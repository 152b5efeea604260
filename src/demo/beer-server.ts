/** The application of the beer pods. It knows nothing of identities: whoever reaches it gets a beer. Its name is its argument. */
import { createServer } from 'node:http';

const BEERS = ['Pilsner', 'Porter', 'Saison', 'Weissbier', 'Stout', 'Dubbel', 'Altbier'];
const name = process.argv[2] ?? 'beer';

createServer((request, response) => {
  if (request.url !== '/tab') {
    const beer = BEERS[new Date().getDay()] ?? BEERS[0]!;
    response.end(`${beer}, poured by ${name}\n`);
    return;
  }
  // A tab stays open: a line from time to time, until somebody ends it.
  const timer = setInterval(() => response.write('another sip\n'), 100);
  response.on('close', () => clearInterval(timer));
}).listen(8080, '::', () => process.stdout.write('open\n'));
