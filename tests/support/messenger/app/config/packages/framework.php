<?php

declare(strict_types=1);

use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel;

return static function (ContainerConfigurator $container): void {
    // Without jitter, delays can be compared.
    $retries = ['max_retries' => 2, 'delay' => 1000, 'multiplier' => 2, 'max_delay' => 2000] + (Kernel::VERSION_ID >= 70100 ? ['jitter' => 0] : []);
    // PostgreSQL only: messenger:consume looks for delayed messages once a minute otherwise.
    $options = 'auto_setup=0&check_delayed_interval=1000';
    $container->extension('framework', [
        'secret' => '%env(APP_SECRET)%',
        'http_method_override' => false,
        'serializer' => ['enabled' => true],
        'property_access' => ['enabled' => true],
        'messenger' => [
            'failure_transport' => 'failed',
            'transports' => [
                // The names of transports differ from the names in the table.
                'php' => ['dsn' => "doctrine://default?queue_name=default&$options", 'retry_strategy' => $retries],
                'json' => ['dsn' => "doctrine://default?queue_name=json_tasks&$options", 'retry_strategy' => $retries, 'serializer' => 'messenger.transport.symfony_serializer'],
                'failed' => "doctrine://default?queue_name=failed&$options",
            ],
        ],
    ]);
};
