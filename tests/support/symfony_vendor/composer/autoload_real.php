<?php

use Composer\Autoload\ClassLoader;

/**
 * One loader by PSR-4, and the few files with functions, as from Composer. Debian's own autoload.php, one in each package,
 * would cost each request some 40 files and as many loaders.
 */
final class ComposerAutoloaderInitDebian
{
    private static ?ClassLoader $loader = null;

    public static function getLoader(): ClassLoader
    {
        if (null !== self::$loader) {
            return self::$loader;
        }
        require_once '/usr/share/php/Symfony/Contracts/Deprecation/function.php';
        require_once '/usr/share/php/Symfony/Component/String/Resources/functions.php';

        $vendor = dirname(__DIR__);
        self::$loader = new ClassLoader([
            'Symfony\\' => '/usr/share/php/Symfony/',
            'Fervo\DeferredEventBundle\\' => $vendor . '/fervo/deferred-event-bundle/src/',
            'Fervo\Runner\\' => $vendor . '/fervo/deferred-event-bundle/runner/',
            'Composer\\' => $vendor . '/fervo/deferred-event-bundle/tests/Support/Composer/',
            'App\\' => dirname($vendor) . '/src/',
            'Psr\\' => '/usr/share/php/Psr/',
            'Doctrine\\' => '/usr/share/php/Doctrine/',
        ]);
        spl_autoload_register([self::$loader, 'loadClass']);

        return self::$loader;
    }
}
