// Real memcached servers for tests; a test that needs one must fail, not skip, where there is none.

export * from '../../embedded/memcached.ts';
