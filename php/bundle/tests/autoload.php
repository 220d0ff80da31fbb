<?php

declare(strict_types=1);

/*
 * The bundle and its tests, on Composer's autoloader where there is one (bundle/vendor, or what FERVO_TEST_AUTOLOAD names),
 * else on Debian's packages.
 */
$composer = getenv('FERVO_TEST_AUTOLOAD') ?: dirname(__DIR__).'/vendor/autoload.php';
if (is_file($composer)) {
    require_once $composer;
} else {
    require_once __DIR__.'/Support/Composer/InstalledVersions.php';
    foreach ([
        'Symfony/Bundle/FrameworkBundle', 'Symfony/Bundle/TwigBundle', 'Symfony/Bundle/WebProfilerBundle',
        'Symfony/Component/Console', 'Symfony/Component/Dotenv', 'Symfony/Component/Messenger', 'Symfony/Component/Messenger/Bridge/Doctrine', 'Symfony/Component/Serializer',
        'Symfony/Component/PropertyAccess', 'Symfony/Component/Runtime', 'Symfony/Component/Translation', 'Symfony/Component/Yaml', 'Twig', 'Doctrine/DBAL', 'Predis',
    ] as $package) {
        require_once '/usr/share/php/'.$package.'/autoload.php';
    }
}

spl_autoload_register(static function (string $class): void {
    foreach (['Fervo\DeferredEventBundle\Tests\\' => __DIR__, 'Fervo\DeferredEventBundle\\' => dirname(__DIR__).'/src', 'Fervo\Runner\\' => dirname(__DIR__).'/runner'] as $prefix => $folder) {
        if (str_starts_with($class, $prefix)) {
            $file = $folder.'/'.strtr(substr($class, strlen($prefix)), '\\', '/').'.php';
            if (is_file($file)) {
                require $file;
            }

            return;
        }
    }
});
