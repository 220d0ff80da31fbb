<?php

declare(strict_types=1);

namespace Symfony\Component\DependencyInjection\Loader\Configurator;

use Fervo\DeferredEventBundle\Command\WorkerConfigCommand;
use Fervo\DeferredEventBundle\Messenger\ApplicationFacts;
use Fervo\DeferredEventBundle\Messenger\Config\CheckFacts;
use Fervo\DeferredEventBundle\Messenger\Config\WorkerConfig;
use Fervo\DeferredEventBundle\Messenger\FervoTransportFactory;
use Fervo\DeferredEventBundle\Messenger\MessageCodec;
use Fervo\DeferredEventBundle\Messenger\MessageRunner;
use Fervo\DeferredEventBundle\Messenger\Recorder;
use Fervo\DeferredEventBundle\Messenger\Transports;
use Fervo\DeferredEventBundle\Payload\Signer;

/* Where symfony/messenger is installed. MessengerPass takes all of it out where "framework.messenger" is not enabled. */
return static function (ContainerConfigurator $container): void {
    $container->services()
        ->set('fervo_deferred_event.messenger.signer', Signer::class)
        ->set('fervo_deferred_event.messenger.codec', MessageCodec::class)
            ->args([service('fervo_deferred_event.messenger.signer')])

        ->set('fervo_deferred_event.messenger.transport_factory', FervoTransportFactory::class)
            ->arg('$codec', service('fervo_deferred_event.messenger.codec'))
            ->arg('$outbox', service('fervo_deferred_event.outbox'))
            ->arg('$backend', service('fervo_deferred_event.backend'))
            ->arg('$defaults', abstract_arg('set by the extension'))
            ->tag('messenger.transport_factory')
        ->set('fervo_deferred_event.messenger.transports', Transports::class)
            ->args([abstract_arg('set by MessengerPass'), abstract_arg('set by MessengerPass'), abstract_arg('set by MessengerPass')])

        ->set('fervo_deferred_event.messenger.facts', ApplicationFacts::class)
            ->args([
                service('fervo_deferred_event.messenger.transports'),
                inline_service(CheckFacts::class)->args(['%kernel.project_dir%', '%kernel.environment%', '%kernel.cache_dir%']),
            ])

        // The worker's side
        ->set('fervo_deferred_event.messenger.recorder', Recorder::class)
        ->set('fervo_deferred_event.messenger.runner', MessageRunner::class)
            ->arg('$codec', service('fervo_deferred_event.messenger.codec'))
            ->arg('$serializers', abstract_arg('set by MessengerPass'))
            ->arg('$bus', service('messenger.routable_message_bus'))
            ->arg('$dispatcher', service('event_dispatcher'))
            ->arg('$recorder', service('fervo_deferred_event.messenger.recorder'))
            ->arg('$boundary', service('fervo_deferred_event.job_boundary'))
            ->arg('$logger', service('logger')->ignoreOnInvalid())
            ->tag('monolog.logger', ['channel' => 'messenger'])

        // The worker's configuration
        ->set('fervo_deferred_event.messenger.worker_config', WorkerConfig::class)
            ->arg('$transports', service('fervo_deferred_event.messenger.transports'))
            ->arg('$settings', abstract_arg('set by WorkerConfigPass'))
            ->arg('$connections', abstract_arg('set by WorkerConfigPass'))
            ->arg('$variables', abstract_arg('set by WorkerConfigPass'))
            ->arg('$notObeyed', abstract_arg('set by WorkerConfigPass'))
            ->arg('$projectDir', param('kernel.project_dir'))
            ->arg('$environment', param('kernel.environment'))
            ->arg('$isDebug', param('kernel.debug'))
        ->set('fervo_deferred_event.command.worker_config', WorkerConfigCommand::class)
            ->args([service('fervo_deferred_event.messenger.worker_config'), service('fervo_deferred_event.command.front_controller')])
            ->tag('console.command')
    ;
};
