<?php

declare(strict_types=1);

/* The classes of this package, for who does without Composer. */
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Fervo\Runner\\') && is_file($file = __DIR__.'/src/'.substr($class, strlen('Fervo\Runner\\')).'.php')) {
        require $file;
    }
});
