/**
 * Loaded into a sidecar before anything else, makes it find nothing again that it ever remembered: no session, no verified token. Every connection
 * is then a first contact. For measuring (`bench/first-contact.ts`); nothing is skipped, everything is done each time.
 */
import { LRUCache } from 'lru-cache';

LRUCache.prototype.get = () => undefined;
