<?php

/*
 * What Composer would write as vendor/, for the example on Debian's packages of Symfony: tests/support/symfony_app.ts
 * copies it there.
 */
require_once __DIR__ . '/composer/ClassLoader.php';
require_once __DIR__ . '/composer/autoload_real.php';

return ComposerAutoloaderInitDebian::getLoader();
