<?php

declare(strict_types=1);

use App\Handler\DoNothing;
use App\Message\Nothing;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

return static function (ContainerConfigurator $container): void {
    $container->services()->set(DoNothing::class)->tag('messenger.message_handler', ['handles' => Nothing::class]);
};
