<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Exception\InvalidSignatureException;
use Fervo\DeferredEventBundle\Exception\NotDeployedException;
use Fervo\DeferredEventBundle\Exception\UndecodablePayloadException;
use Fervo\DeferredEventBundle\Exception\UnserializableEventException;
use Fervo\DeferredEventBundle\Payload\Signer;

/**
 * Messenger's encoded envelope <-> payload. Under the signature's line, a payload is a JSON object:
 *
 *     {"message": "App\\Message\\Foo", "transport": "async", "body": "…", "headers": {"type": "App\\Message\\Foo"}}
 *
 * The body and the headers' values travel byte for byte: each is text, or {"base64": "…"} where it is no UTF-8 or where that is
 * shorter, as with the many quotes and backslashes of serialize().
 *
 * @internal
 */
final class MessageCodec
{
    private const JSON = \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE;

    public function __construct(private readonly Signer $signer)
    {
    }

    /** @throws UnserializableEventException */
    public function encode(EncodedMessage $message): string
    {
        $headers = array_map(static fn (mixed $value): mixed => \is_string($value) ? self::pack($value) : $value, $message->envelope['headers']);
        try {
            return $this->signer->sign(json_encode([
                'message' => $message->class,
                'transport' => $message->transport,
                'body' => self::pack($message->envelope['body']),
                'headers' => $headers,
            ], self::JSON | \JSON_THROW_ON_ERROR));
        } catch (\JsonException $error) {
            throw new UnserializableEventException(sprintf('Cannot send a message of the class "%s": its headers cannot travel: %s', $message->class, $error->getMessage()), 0, $error);
        }
    }

    /**
     * @throws InvalidSignatureException
     * @throws NotDeployedException
     * @throws UndecodablePayloadException
     */
    public function decode(string $payload): EncodedMessage
    {
        $content = json_decode($this->signer->verify($payload), true);
        $class = $content['message'] ?? null;
        $transport = $content['transport'] ?? null;
        $body = self::unpack($content['body'] ?? null);
        $headers = $content['headers'] ?? null;
        if (!\is_string($class) || !\is_string($transport) || !\is_string($body) || !\is_array($headers)) {
            throw new UndecodablePayloadException('The payload is signed, and is no message of Symfony Messenger.');
        }

        return new EncodedMessage($class, $transport, ['body' => $body, 'headers' => array_map(self::unpack(...), $headers)]);
    }

    /** @return string|array{base64: string} */
    private static function pack(string $bytes): string|array
    {
        $text = json_encode($bytes, self::JSON);
        $base64 = base64_encode($bytes);

        return false === $text || \strlen($text) > \strlen('{"base64":""}') + \strlen($base64) ? ['base64' => $base64] : $bytes;
    }

    private static function unpack(mixed $packed): mixed
    {
        return \is_array($packed) && \is_string($packed['base64'] ?? null) ? base64_decode($packed['base64'], true) : $packed;
    }
}
