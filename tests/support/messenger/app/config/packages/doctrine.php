<?php

declare(strict_types=1);

use App\Doctrine\Registry;
use Doctrine\Bundle\DoctrineBundle\DoctrineBundle;
use Doctrine\DBAL\Connection;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\Messenger\Bridge\Doctrine\Transport\DoctrineTransportFactory;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;

return static function (ContainerConfigurator $container): void {
    if (class_exists(DoctrineBundle::class)) {
        $container->extension('doctrine', ['dbal' => ['url' => '%env(APP_DATABASE)%']]);

        return;
    }
    $services = $container->services();
    $services->set(Registry::class)->args(['%env(APP_DATABASE)%']);
    $services->set(Connection::class)->factory([service(Registry::class), 'getConnection']);
    // As DoctrineBundle does it.
    $services->set('messenger.transport.doctrine.factory', DoctrineTransportFactory::class)
        ->args([service(Registry::class)])->tag('messenger.transport_factory');
};
