<?php

declare(strict_types=1);

use App\Handler\DoJob;
use App\Message\Job;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

return static function (ContainerConfigurator $container): void {
    $container->services()->set(DoJob::class)->args(['%env(APP_LEDGER)%'])->tag('messenger.message_handler', ['handles' => Job::class]);
};
