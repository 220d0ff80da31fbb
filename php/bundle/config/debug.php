<?php

declare(strict_types=1);

namespace Symfony\Component\DependencyInjection\Loader\Configurator;

use Fervo\DeferredEventBundle\DataCollector\DeferralLog;
use Fervo\DeferredEventBundle\DataCollector\DeferredEventCollector;

return static function (ContainerConfigurator $container): void {
    $container->services()
        ->set('fervo_deferred_event.deferral_log', DeferralLog::class)
            ->tag('kernel.reset', ['method' => 'reset'])
        ->set('fervo_deferred_event.data_collector', DeferredEventCollector::class)
            ->arg('$log', service('fervo_deferred_event.deferral_log'))
            ->arg('$settings', abstract_arg('set by the extension'))
            ->tag('data_collector', [
                'template' => '@FervoDeferredEvent/Collector/deferred_events.html.twig',
                'id' => 'fervo_deferred_event',
                'priority' => 200,
            ])
    ;
};
