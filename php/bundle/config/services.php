<?php

declare(strict_types=1);

namespace Symfony\Component\DependencyInjection\Loader\Configurator;

use Fervo\DeferredEventBundle\Backend\ImmediateBackend;
use Fervo\DeferredEventBundle\Backend\InMemoryBackend;
use Fervo\DeferredEventBundle\Command\DebugCommand;
use Fervo\DeferredEventBundle\Command\DispatchCommand;
use Fervo\DeferredEventBundle\Command\FrontControllerCommand;
use Fervo\DeferredEventBundle\Command\RelayCommand;
use Fervo\DeferredEventBundle\Command\TryCommand;
use Fervo\DeferredEventBundle\ConfiguredOptions;
use Fervo\DeferredEventBundle\Context\Context;
use Fervo\DeferredEventBundle\Context\HostCarrier;
use Fervo\DeferredEventBundle\Context\LocaleCarrier;
use Fervo\DeferredEventBundle\DeferredEventQueue;
use Fervo\DeferredEventBundle\DeferredEventQueueInterface;
use Fervo\DeferredEventBundle\Doctrine\OutboxTable;
use Fervo\DeferredEventBundle\Doctrine\SchemaListener;
use Fervo\DeferredEventBundle\Doctrine\TransactionMiddleware;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Event\DeferEvent;
use Fervo\DeferredEventBundle\Event\TryEvent;
use Fervo\DeferredEventBundle\EventListener\DeferEventListener;
use Fervo\DeferredEventBundle\EventListener\TerminateListener;
use Fervo\DeferredEventBundle\EventListener\TryListener;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\Payload\PayloadCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Serializer\JsonEventSerializer;
use Fervo\DeferredEventBundle\Serializer\PhpEventSerializer;
use Fervo\DeferredEventBundle\Worker\ApplicationKernel;
use Fervo\DeferredEventBundle\Worker\FrontController;
use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\DeferredEventBundle\Worker\JobRunner;
use Fervo\DeferredEventBundle\Worker\PayloadDispatcher;
use Fervo\DeferredEventBundle\Worker\Relay;
use Fervo\Runner\Answer;
use Fervo\Runner\BatchApplication;
use Fervo\Runner\BatchReader;
use Fervo\Runner\Checkable;
use Fervo\Runner\Failure;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Fervo\Runner\Runner;

/*
 * A job in the worker pays for each service that it instantiates. So the logger comes as a closure, the outbox only where a
 * job has used it, and the serializer of the format that the payload has.
 */
return static function (ContainerConfigurator $container): void {
    $logger = service_closure('fervo_deferred_event.logger');
    $usedOutbox = iterator([service('fervo_deferred_event.outbox')->ignoreOnUninitialized()]);

    $container->services()
        // FrameworkBundle always has one. With MonologBundle, it becomes the channel "fervo".
        ->alias('fervo_deferred_event.logger', 'logger')

        // Deferring
        ->set('fervo_dispatch.queue', DeferredEventQueue::class)
            ->public()
            ->arg('$codec', service('fervo_deferred_event.codec'))
            ->arg('$outbox', service('fervo_deferred_event.outbox'))
            ->arg('$dispatcher', service('event_dispatcher'))
            ->arg('$options', service('fervo_deferred_event.configured_options'))
        ->set('fervo_deferred_event.configured_options', ConfiguredOptions::class)
            ->arg('$defaults', abstract_arg('set by the extension'))
        ->alias(DeferredEventQueueInterface::class, 'fervo_dispatch.queue')

        ->set('fervo_deferred_event.defer_event_listener', DeferEventListener::class)
            ->args([service('fervo_dispatch.queue')])
            ->tag('kernel.event_listener', ['event' => DeferEvent::NAME, 'method' => '__invoke'])
            ->tag('kernel.event_listener', ['event' => DeferEvent::class, 'method' => '__invoke'])

        // Sending
        ->set('fervo_deferred_event.outbox', Outbox::class)
            ->arg('$backend', service('fervo_deferred_event.backend'))
            ->arg('$mode', abstract_arg('set by the extension'))
            ->arg('$logger', $logger)
            ->arg('$boundaries', iterator([service('fervo_deferred_event.job_boundary')->ignoreOnUninitialized()]))
            ->tag('kernel.reset', ['method' => 'reset'])
        ->set('fervo_deferred_event.backend.immediate', ImmediateBackend::class)
            ->args([service('fervo_deferred_event.payload_dispatcher')])
        ->set('fervo_deferred_event.backend.in_memory', InMemoryBackend::class)
            ->args([service('fervo_deferred_event.codec'), service('fervo_deferred_event.payload_dispatcher')])
        ->set('fervo_deferred_event.terminate_listener', TerminateListener::class)
            ->args([$usedOutbox])
            // After those listeners of the application that defer events themselves.
            ->tag('kernel.event_listener', ['event' => 'kernel.terminate', 'method' => '__invoke', 'priority' => -512])
            ->tag('kernel.event_listener', ['event' => 'console.terminate', 'method' => '__invoke', 'priority' => -512])
        ->set('fervo_deferred_event.transactions', TransactionTracker::class)
        ->set('fervo_deferred_event.transaction_middleware', TransactionMiddleware::class)
            ->args([service('fervo_deferred_event.transactions')])

        // `send: transactional`
        ->set('fervo_deferred_event.outbox_table', OutboxTable::class)
            ->args([abstract_arg('set by DoctrinePass'), abstract_arg('set by DoctrinePass')])
        ->set('fervo_deferred_event.schema_listener', SchemaListener::class)
            ->args([service('fervo_deferred_event.outbox_table')])
        ->set('fervo_deferred_event.relay', Relay::class)
            ->args([service('fervo_deferred_event.outbox_table'), service('fervo_deferred_event.backend')])
        ->set('fervo_deferred_event.command.relay', RelayCommand::class)
            ->args([service('fervo_deferred_event.relay')])
            ->tag('console.command')

        // Payloads
        ->set('fervo_deferred_event.signer', Signer::class)
        ->set('fervo_deferred_event.serializer.php', PhpEventSerializer::class)
            ->tag('container.hot_path')
        ->set('fervo_deferred_event.serializer.json', JsonEventSerializer::class)
            ->args([service('serializer')])
        ->set('fervo_deferred_event.codec', PayloadCodec::class)
            ->arg('$signer', service('fervo_deferred_event.signer'))
            ->arg('$serializers', service_locator([
                'php' => service('fervo_deferred_event.serializer.php'),
                'json' => service('fervo_deferred_event.serializer.json')->ignoreOnInvalid(),
            ]))

        // What travels along
        ->set('fervo_deferred_event.context', Context::class)
            ->args([abstract_arg('set by ContextPass'), abstract_arg('set by ContextPass')])
        ->set('fervo_deferred_event.context.host', HostCarrier::class)
            ->args([service('router.request_context')])
            ->tag('fervo_deferred_event.context_carrier')
        ->set('fervo_deferred_event.context.locale', LocaleCarrier::class)
            ->args([tagged_iterator('kernel.locale_aware'), service('request_stack'), service('router.request_context')->nullOnInvalid()])
            ->tag('fervo_deferred_event.context_carrier')

        // The worker's side
        ->set('fervo_deferred_event.payload_dispatcher', PayloadDispatcher::class)
            ->arg('$codec', service('fervo_deferred_event.codec'))
            ->arg('$dispatcher', service('event_dispatcher'))
            ->arg('$listeners', abstract_arg('set by DeferredListenerPass'))
            ->arg('$logger', $logger)
        ->set('fervo_deferred_event.job_boundary', JobBoundary::class)
            ->arg('$outboxes', $usedOutbox)
            ->tag('container.hot_path')
        ->set('fervo_deferred_event.runner', JobRunner::class)
            ->public()
            ->arg('$dispatcher', service('fervo_deferred_event.payload_dispatcher'))
            ->arg('$boundary', service('fervo_deferred_event.job_boundary'))
            ->arg('$servicesResetter', service('services_resetter'))
            ->arg('$logger', $logger)
            ->arg('$events', service('event_dispatcher'))
            // Into the container's own file, with all that it needs: each job would load some files more.
            ->tag('container.hot_path')
            // No services, so that Symfony's preload file would not have them.
            ->tag('container.preload', ['class' => ApplicationKernel::class])
            ->tag('container.preload', ['class' => FrontController::class])
            ->tag('container.preload', ['class' => Runner::class])
            ->tag('container.preload', ['class' => Answer::class])
            ->tag('container.preload', ['class' => BatchApplication::class])
            ->tag('container.preload', ['class' => BatchReader::class])
            ->tag('container.preload', ['class' => Checkable::class])
            ->tag('container.preload', ['class' => Failure::class])
            ->tag('container.preload', ['class' => Job::class])
            ->tag('container.preload', ['class' => Outcome::class])

        // The console
        ->set('fervo_deferred_event.command.dispatch', DispatchCommand::class)
            ->args([service('fervo_deferred_event.runner')])
            ->tag('console.command')
        ->set('fervo_deferred_event.command.debug', DebugCommand::class)
            ->arg('$settings', abstract_arg('set by the extension'))
            ->arg('$options', service('fervo_deferred_event.configured_options'))
            ->arg('$listeners', abstract_arg('set by DeferredListenerPass'))
            ->tag('console.command')
        ->set('fervo_deferred_event.command.front_controller', FrontControllerCommand::class)
            ->args(['%kernel.project_dir%'])
            ->tag('console.command')
        ->set('fervo_deferred_event.command.try', TryCommand::class)
            ->args([service('fervo_dispatch.queue')])
            ->tag('console.command')
        ->set('fervo_deferred_event.try_listener', TryListener::class)
            ->tag('kernel.event_listener', ['event' => TryEvent::class, 'method' => '__invoke'])
    ;
};
