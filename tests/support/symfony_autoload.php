<?php

/*
 * What Composer would write as vendor/autoload.php, for the example on Debian's packages of Symfony:
 * tests/support/symfony_app.ts puts it there.
 */
foreach (['Bundle/FrameworkBundle', 'Component/Console', 'Component/Dotenv', 'Component/Messenger', 'Component/Yaml'] as $package) {
    require_once '/usr/share/php/Symfony/' . $package . '/autoload.php';
}

spl_autoload_register(static function (string $class): void {
    $folders = [
        'App\\' => dirname(__DIR__) . '/src/',
        'Fervo\DeferredEventBundle\\' => __DIR__ . '/fervo/deferred-event-bundle/src/',
    ];
    foreach ($folders as $prefix => $folder) {
        if (str_starts_with($class, $prefix)) {
            $file = $folder . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) {
                require $file;
            }

            return;
        }
    }
});
