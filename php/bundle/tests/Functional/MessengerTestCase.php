<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Functional;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Messenger\MessageCodec;
use Fervo\DeferredEventBundle\Payload\Signer;
use Fervo\DeferredEventBundle\Tests\Fixtures\Pay;
use Fervo\DeferredEventBundle\Tests\Fixtures\Recorder;
use Fervo\DeferredEventBundle\Tests\Fixtures\TestKernel;
use Fervo\DeferredEventBundle\Tests\Fixtures\Till;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Event\WorkerMessageFailedEvent;
use Symfony\Component\Messenger\Event\WorkerMessageHandledEvent;
use Symfony\Component\Messenger\Event\WorkerMessageReceivedEvent;
use Symfony\Component\Messenger\Event\WorkerStartedEvent;
use Symfony\Component\Messenger\Event\WorkerStoppedEvent;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\StampInterface;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
use Symfony\Component\Messenger\Transport\Serialization\SerializerInterface;
use Symfony\Component\Messenger\Transport\TransportInterface;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;
use function Symfony\Component\DependencyInjection\Loader\Configurator\service_closure;

/** An application whose messages of the class Pay go by the transport "async". */
abstract class MessengerTestCase extends KernelTestCase
{
    protected const CONNECTION = 'doctrine.dbal.default_connection';

    /**
     * @param array<string, mixed> $messenger of "framework.messenger"
     * @param array<string, mixed> $config    of the bundle
     */
    protected function application(array $messenger = [], array $config = [], ?\Closure $configure = null): TestKernel
    {
        $file = Folder::create().'/app.sqlite';
        $config += $this->sqlite();

        return $this->boot($config, static function (ContainerConfigurator $container) use ($messenger, $configure, $file): void {
            self::quiet($container);
            $transports = $messenger['transports'] ?? [];
            $container->extension('framework', ['messenger' => [
                'transports' => $transports + ['async' => 'fervo://payments'],
                'routing' => [Pay::class => 'async'] + ($messenger['routing'] ?? []),
            ] + $messenger + (Kernel::VERSION_ID < 60000 ? ['reset_on_message' => true] : [])]);
            $container->parameters()->set('doctrine.connections', ['default' => self::CONNECTION])->set('doctrine.default_connection', 'default');
            $services = $container->services();
            $services->set(self::CONNECTION, Connection::class)->public()
                ->factory([DriverManager::class, 'getConnection'])->args([['driver' => 'pdo_sqlite', 'path' => $file]]);
            $services->set(Till::class)->public()
                ->args([service(MessageBusInterface::class), service('fervo_dispatch.queue'), service(Recorder::class), service_closure(self::CONNECTION)])
                ->tag('messenger.message_handler', ['handles' => Pay::class, 'method' => 'first', 'priority' => 1])
                ->tag('messenger.message_handler', ['handles' => Pay::class, 'method' => 'second'])
                ->tag('kernel.event_listener', ['event' => WorkerStartedEvent::class, 'method' => 'started'])
                ->tag('kernel.event_listener', ['event' => WorkerStoppedEvent::class, 'method' => 'stopped'])
                ->tag('kernel.event_listener', ['event' => WorkerMessageReceivedEvent::class, 'method' => 'received'])
                ->tag('kernel.event_listener', ['event' => WorkerMessageHandledEvent::class, 'method' => 'handled'])
                // Behind the retry, and before the failure transport.
                ->tag('kernel.event_listener', ['event' => WorkerMessageFailedEvent::class, 'method' => 'failed', 'priority' => 50]);
            if (null !== $configure) {
                $configure($container);
            }
        });
    }

    protected function send(TestKernel $kernel, object $message, StampInterface ...$stamps): void
    {
        $kernel->getContainer()->get('test.service_container')->get(MessageBusInterface::class)->dispatch($message, $stamps);
    }

    /** Runs the oldest job of the queue, and does what the worker would: a message that replaces it takes its place. */
    protected function runNext(TestKernel $kernel): Outcome
    {
        $row = Queue::rows($this->queue)[0];
        $db = Queue::open($this->queue);
        $db->exec('DELETE FROM fervo_jobs WHERE id = '.$row['id']);
        $outcome = $this->runPayload($kernel, $row['payload']);
        if (Outcome::REPLACE === $outcome->kind) {
            $row = ['payload' => self::message($outcome)['body'], 'due_at' => (int) (microtime(true) * 1000) + $outcome->delayMs, 'state' => 'ready', 'id' => null] + $row;
            $db->prepare(sprintf('INSERT INTO fervo_jobs (%s) VALUES (%s)', implode(', ', array_keys($row)), implode(', ', array_fill(0, \count($row), '?'))))->execute(array_values($row));
        }

        return $outcome;
    }

    /**
     * The message that takes the job's place, as the worker reads it.
     *
     * @return array{headers: array<string, string>, body: string}
     */
    protected static function message(Outcome $outcome): array
    {
        [$line, $rest] = explode("\n", substr($outcome->toRecord('7'), 1), 2);
        $facts = json_decode($line, true, 512, \JSON_THROW_ON_ERROR);
        self::assertSame('replace', $facts['outcome'], (string) $outcome->error);
        self::assertSame($facts['headers_bytes'] + $facts['bytes'], \strlen($rest));

        return ['headers' => json_decode(substr($rest, 0, $facts['headers_bytes']), true), 'body' => substr($rest, $facts['headers_bytes'])];
    }

    protected function runPayload(TestKernel $kernel, string $payload): Outcome
    {
        return $this->silently(static fn (): Outcome => $kernel->getContainer()->get('fervo_deferred_event.runner')->run(Job::fromParams($_SERVER, $payload)));
    }

    /** Of the i-th job in the queue. */
    protected function envelope(int $i = 0, SerializerInterface $serializer = new PhpSerializer()): Envelope
    {
        $codec = new MessageCodec(new Signer('s3cret', [], Signer::MESSAGE));

        return $serializer->decode($codec->decode(Queue::rows($this->queue)[$i]['payload'])->envelope);
    }

    protected function till(TestKernel $kernel): Till
    {
        return $kernel->getContainer()->get(Till::class);
    }

    protected function transport(TestKernel $kernel, string $name): TransportInterface
    {
        return $kernel->getContainer()->get('test.service_container')->get('messenger.transport.'.$name);
    }
}
