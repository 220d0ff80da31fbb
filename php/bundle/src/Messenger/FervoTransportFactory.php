<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\DeferOptions;
use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Outbox;
use Symfony\Component\Messenger\Transport\Serialization\SerializerInterface;
use Symfony\Component\Messenger\Transport\TransportFactoryInterface;

/**
 * `fervo://QUEUE?attempts=3&priority=5`, or the same options beside the DSN; those of the DSN go first. Without a queue it is
 * that of the bundle's configuration.
 *
 * @implements TransportFactoryInterface<FervoTransport>
 *
 * @internal
 */
final class FervoTransportFactory implements TransportFactoryInterface
{
    private const SCHEME = 'fervo://';
    private const OPTIONS = ['attempts', 'priority'];

    /** Told by FrameworkBundle beside the options. */
    private const NAME = 'transport_name';

    public function __construct(
        private readonly MessageCodec $codec,
        private readonly Outbox $outbox,
        private readonly BackendInterface $backend,
        private readonly DeferOptions $defaults,
    ) {
    }

    /** @param array<string, mixed> $options */
    public function supports(#[\SensitiveParameter] string $dsn, array $options): bool
    {
        return self::isFor($dsn);
    }

    public static function isFor(#[\SensitiveParameter] string $dsn): bool
    {
        return str_starts_with($dsn, self::SCHEME);
    }

    /**
     * @param array<string, mixed> $options
     *
     * @throws InvalidOptionException
     */
    public function createTransport(#[\SensitiveParameter] string $dsn, array $options, SerializerInterface $serializer): FervoTransport
    {
        $name = $options[self::NAME] ?? null;
        if (!\is_string($name)) {
            throw new InvalidOptionException('A transport of fervo:// has to have a name, as FrameworkBundle gives it ("transport_name"): a message says by it to which one it belongs.');
        }
        unset($options[self::NAME]);

        return new FervoTransport($name, self::read($dsn, $options, sprintf('The transport "%s"', $name))->orElse($this->defaults), $serializer, $this->codec, $this->outbox, $this->backend);
    }

    /**
     * @param array<string, mixed> $options
     *
     * @throws InvalidOptionException
     */
    public static function read(#[\SensitiveParameter] string $dsn, array $options, string $who): DeferOptions
    {
        if (1 !== preg_match('~^fervo://([^/?#@]*)(?:\?([^#]*))?$~D', $dsn, $match)) {
            throw new InvalidOptionException($who.' has a DSN that is not valid: expected fervo://QUEUE, with options as in fervo://QUEUE?attempts=3&priority=5. Where the queue is, "fervo_deferred_event.backend" says.');
        }
        parse_str($match[2] ?? '', $query);
        $options = $query + $options;
        if ([] !== $unknown = array_diff(array_map(strval(...), array_keys($options)), self::OPTIONS)) {
            throw new InvalidOptionException(sprintf('%s has the option "%s"; fervo:// knows %s.', $who, current($unknown), implode(', ', self::OPTIONS)));
        }
        foreach ($options as $option => $value) {
            $options[$option] = filter_var($value, \FILTER_VALIDATE_INT, \FILTER_NULL_ON_FAILURE)
                ?? throw new InvalidOptionException(sprintf('%s has the option "%s" with %s; it takes a whole number.', $who, $option, \is_scalar($value) ? sprintf('"%s"', $value) : get_debug_type($value)));
        }
        $queue = rawurldecode($match[1]);
        try {
            return new DeferOptions(queue: '' === $queue ? null : $queue, priority: $options['priority'] ?? null, attempts: $options['attempts'] ?? null);
        } catch (InvalidOptionException $error) {
            throw new InvalidOptionException($who.': '.$error->getMessage(), 0, $error);
        }
    }
}
