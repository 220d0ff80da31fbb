<?php

declare(strict_types=1);

use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

/*
 * An application with one kind of queue writes this into config/packages/fervo_deferred_event.yaml:
 *
 *     fervo_deferred_event:
 *         backend: { type: sqlite, path: '%kernel.project_dir%/var/queue.sqlite' }
 */
return static function (ContainerConfigurator $container): void {
    $type = $_SERVER['APP_QUEUE'] ?? 'sqlite';

    $container->extension('fervo_deferred_event', [
        'backend' => match ($type) {
            'sqlite' => ['type' => 'sqlite', 'path' => '%kernel.project_dir%/var/queue.sqlite'],
            'redis', 'beanstalkd' => ['type' => $type, 'dsn' => '%env(APP_QUEUE_DSN)%'],
            // The application's own database; with DoctrineBundle, its default connection needs no option.
            'postgres', 'mysql' => ['type' => $type, 'connection' => PDO::class],
        },
    ]);
    if (in_array($type, ['postgres', 'mysql'], true)) {
        $container->services()->set(PDO::class, PDO::class)->args(['%env(APP_QUEUE_DSN)%']);
    }
};
